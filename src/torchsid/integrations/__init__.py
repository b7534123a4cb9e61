"""Other people's training loops, with stages; each needs its own library."""
