"""The figures of the report, one file a subject; every function returns a `Drawing`."""
