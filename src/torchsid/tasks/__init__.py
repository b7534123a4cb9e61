"""Domains: where samples come from, what a batch is, which networks read it, how good an answer is, how a sample is shown."""
