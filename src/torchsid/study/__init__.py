"""Measuring: evaluation, statistics, time, memory, and where a number comes from. Import the modules themselves."""
