"""The paper in a few files: beliefs, the local objective, cascades and how one step over them is executed. Needs torch alone."""
