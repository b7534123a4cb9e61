"""What the server has done once before workers are forked off it: imports, a step of every network, one look at all objects."""

import gc

from tests.distributed.networks import alone, batches, crossing_cascade, extractor_cascade

import torchsid.bench.pipeline.bench
import torchsid.cli.train
import torchsid.training.spread  # noqa: F401

for build in (crossing_cascade, extractor_cascade):
    alone(build()).step(*batches()[0])
gc.collect()
gc.freeze()  # a worker that looked at them would copy them
