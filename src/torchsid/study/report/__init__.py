"""Runs as one page, and side by side in one table."""

from torchsid.study.report.compare import Comparison, compare, cost_table, stage_table, summary_table
from torchsid.study.report.page import render

__all__ = ["Comparison", "compare", "cost_table", "render", "stage_table", "summary_table"]
