"""Sequences of tasks on one network."""
