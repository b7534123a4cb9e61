"""Questions about the method, each answered by one command: runs or measured steps, intervals, one page."""
