"""A run, or several compared, as one self-contained page and as one table."""

from torchsid.report.compare import Comparison, Row, Score, comparison
from torchsid.report.methods import Method
from torchsid.report.page import render
from torchsid.report.record import RunRecord, Samples, Split, Weights, load_run
from torchsid.report.wording import Cell, Table, headline, summary_table

__all__ = [
    "Cell",
    "Comparison",
    "Method",
    "Row",
    "RunRecord",
    "Samples",
    "Score",
    "Split",
    "Table",
    "Weights",
    "comparison",
    "headline",
    "load_run",
    "render",
    "summary_table",
]
