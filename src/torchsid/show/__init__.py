"""A run, or several compared, as one self-contained page and as one table."""

from torchsid.show.compare import Comparison, Row, Score, comparison
from torchsid.show.methods import Method
from torchsid.show.page import render
from torchsid.show.record import RunRecord, Samples, Split, Weights, load_run
from torchsid.show.wording import Cell, Table, headline, summary_table

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
