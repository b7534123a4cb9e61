"""From a configuration to everything that training needs in memory; nothing is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.core.learner import Learner
from torchsid.core.side_effects import without_side_effects
from torchsid.core.threads import threads
from torchsid.tasks.domain import Splits, Task
from torchsid.training.batches import Batches
from torchsid.training.build import build_learner, build_network, build_task, choose_device, place
from torchsid.training.config import RunConfig
from torchsid.training.optimization import build_optimizer

if TYPE_CHECKING:
    from torchsid.distributed.world import World


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Data, network and optimiser of a run."""

    config: RunConfig
    device: torch.device
    task: Task
    splits: Splits
    batches: Batches
    learner: Learner
    optimizer: Optimizer
    world: "World | None" = None
    """This worker's place among several; None in one process."""

    @property
    def memory(self) -> dict[str, Tensor]:
        """What the method remembers of the training samples, for the checkpoint."""
        return self.learner.state()

    @property
    def leads(self) -> bool:
        """Whether this process writes the run."""
        return self.world is None or self.world.leads


def set_up(config: RunConfig, device: torch.device, *, cut_by_graph: bool = False) -> Setup:
    """Load the data and build the untrained network; `cut_by_graph` makes modules of its stages, whatever `model.by` says.

    Raises:
        DataError: the data are missing, damaged, or do not fit.
        ConfigError: the network cannot read such samples, or cannot be cut as the configuration asks.
    """
    task = build_task(config)
    splits = task.load(config.training.seed)
    torch.manual_seed(config.training.seed)
    built = config
    if cut_by_graph and config.model.network == "staged":
        built = replace(config, model=replace(config.model, by="graph"))
    module = place(build_network(built, task, splits.about), built, task, device)
    optimizer = build_optimizer(module, config.optimizer)
    learner, batches = build_learner(module, config), Batches(task, splits, config.training, device)
    with without_side_effects(module):
        answer = learner.log_beliefs(batches.first(2).x).shape[2:]
    learner.prepare_training(samples=len(splits.train), epochs=config.training.epochs, optimizer=optimizer, answer=answer)
    return Setup(config=config, device=device, task=task, splits=splits, batches=batches, learner=learner, optimizer=optimizer)


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
