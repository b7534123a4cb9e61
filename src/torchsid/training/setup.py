"""From a configuration to everything that training needs in memory; nothing is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.core.learner import Learner
from torchsid.core.threads import threads
from torchsid.errors import DataError
from torchsid.learners.memory import BeliefMemory
from torchsid.learners.predictions import PredictionMemory
from torchsid.tasks import images as data
from torchsid.training.batches import Batches
from torchsid.training.build import build_learner, build_network, choose_device, place
from torchsid.training.config import RunConfig
from torchsid.training.optimization import build_optimizer

if TYPE_CHECKING:
    from torchsid.distributed.world import World


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Data, network and optimiser of a run."""

    config: RunConfig
    device: torch.device
    splits: data.DataSplits
    batches: Batches
    learner: Learner
    optimizer: Optimizer
    world: "World | None" = None
    """This worker's place among several; None in one process."""

    @property
    def memory(self) -> dict[str, Tensor]:
        """What the method remembers of the training samples, for the checkpoint."""
        memory: BeliefMemory | PredictionMemory | None = getattr(self.learner, "memory", None)
        return memory.tensors() if memory else {}

    @property
    def leads(self) -> bool:
        """Whether this process writes the run."""
        return self.world is None or self.world.leads


def set_up(config: RunConfig, device: torch.device, *, cut_by_graph: bool = False) -> Setup:
    """Load the data and build the untrained network; `cut_by_graph` makes modules of its stages, whatever `model.by` says.

    Raises:
        DataError: the data are missing, damaged, or not square.
        ConfigError: the network cannot take such images, or cannot be cut as the configuration asks.
    """
    splits = data.load(config.data, seed=config.training.seed)
    height, width = splits.image_size
    if height != width:
        raise DataError(
            f"the images of {splits.name} are {height}x{width} pixels; networks here read square images: cut or pad them"
        )
    torch.manual_seed(config.training.seed)
    built = config
    if cut_by_graph and config.model.network == "staged":
        built = replace(config, model=replace(config.model, by="graph"))
    module = build_network(built, num_classes=splits.num_classes, channels=splits.channels, image_size=height)
    place(module, built, device)
    optimizer = build_optimizer(module, config.optimizer)
    return Setup(
        config=config,
        device=device,
        splits=splits,
        batches=Batches(splits, config, device),
        learner=build_learner(module, config, optimizer, samples=len(splits.train), num_classes=splits.num_classes),
        optimizer=optimizer,
    )


@contextmanager
def torch_settings(config: RunConfig) -> Iterator[torch.device]:
    """Choose the device and set the threads; on exit threads and random number generators are as before.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    device = choose_device(config.training.device)
    forked = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with threads(config.training.threads or torch.get_num_threads()), forked:
        yield device
