"""Sphinx configuration; `make docs` builds with warnings as errors."""

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
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False
