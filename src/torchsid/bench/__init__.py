"""What one training step costs on this machine: time, bytes kept for backward, traffic between workers.

A *workload* is one network and one batch; *contenders* are ways to train it; a *trainable* is a contender once it is built. They
take turns in one process, so that ratios survive a machine whose speed drifts, and become rows.
"""
