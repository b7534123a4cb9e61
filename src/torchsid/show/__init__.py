"""Plots, tables and pages: numbers and names go in, SVG and HTML come out. Import the modules themselves."""
