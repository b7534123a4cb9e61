"""Certificates: which statements of the theory hold for a trained cascade, on which data. Import the modules themselves."""
