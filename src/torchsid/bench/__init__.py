"""What one training step costs on this machine: time, bytes kept for backward, traffic between workers.

A *workload* is one network and one batch; *contenders* are ways to train it; a *trainable* is a contender once it is built. They
take turns in one process, so that ratios survive a machine whose speed drifts, and become rows.

* `torchsid bench step`: time and kept bytes of a step; of cut networks, or of the schedules of the paper's shared cascade.
* `torchsid bench memory`: kept bytes, and the peak of a process of its own.
* `torchsid bench pipeline`: stages on several workers.
* `torchsid experiment timing` and `memory`: lists of workloads, measured the same way.
"""
