"""Weights of few bits: grids, COMQ, networks quantised stage by stage, and how they are stored; of torch alone."""
