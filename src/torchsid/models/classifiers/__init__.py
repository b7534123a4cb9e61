"""Whole networks from a sample to logits: a registry, a file is an entry."""
