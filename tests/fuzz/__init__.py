"""Random settings, damage, kills and foreign models: every case follows from its kind and a seed.

`python -m tests.fuzz KIND SEED` runs one case again, `make soak` an hour of them.
"""
