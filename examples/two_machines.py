"""Two workers, on one machine or two: the stages of a network are distributed, and nothing travels back between them.

On one machine:

    torchrun --nproc-per-node 2 examples/two_machines.py

On two, run the same line on each, with the address of the first:

    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint FIRST:29500 examples/two_machines.py

The weights are those of one process, to the bit.
"""

import os
import sys
from pathlib import Path

from torchsid import training

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/two-machines")
config = training.resolve("digits-staged", ["training.epochs=2", "training.threads=1"])
run = training.train(config, out)

rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun
if rank == size - 1:  # the last worker sees every answer, and writes the run
    network = training.load_network(run)
    test = network.task.load(seed=0).test
    found = network.learner.log_beliefs(network.prepare(test.inputs[:]))[-1].argmax(-1)
    print(f"{(found == test.target[:]).float().mean():.1%} of the test digits, by {size} workers")
