"""The page of a certificate: what the stages of a trained cascade do, in tables and pictures. Import the modules themselves."""
