"""Sphinx configuration; `make docs` builds with warnings as errors."""

import runpy
from pathlib import Path

from sphinx.application import Sphinx

from torchsid.__about__ import __version__

project = "torchsid"
author = "The torchsid authors"
project_copyright = "2026, the torchsid authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]  # <img width=…>: two figures side by side
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"torchsid {release}"
exclude_patterns = ["_build", "_generated"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False


def write_references(app: Sphinx) -> None:
    """Write what docs/settings.md and docs/command-line.md include."""
    source = Path(app.srcdir)
    (source / "_generated").mkdir(exist_ok=True)
    for name in ("settings", "command"):
        page = runpy.run_path(str(source / f"{name}_reference.py"))["page"]
        (source / f"_generated/{name}.md").write_text(page() + "\n", encoding="utf-8")


def run_tutorial(app: Sphinx, page: str, source: list[str]) -> None:
    """Put below the blocks of the tutorial what they print."""
    if page == "tutorial":
        source[0] = runpy.run_path(str(Path(app.srcdir) / "executed.py"))["executed"](source[0])


def setup(app: Sphinx) -> None:
    """Let the references be written before the pages are read, and the tutorial run as it is."""
    app.connect("builder-inited", write_references)
    app.connect("source-read", run_tutorial)
