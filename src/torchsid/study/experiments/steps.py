"""What a training step of each contender costs beside the others': its real step, on its real first batch, in turns."""

from dataclasses import dataclass

import torch

from torchsid.bench.recorder import Recorder
from torchsid.bench.steps import ratios, spread, take_rounds
from torchsid.bench.trainable import GRADIENTS, Trainable
from torchsid.core.side_effects import threads
from torchsid.errors import ConfigError, DataError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Job, cells, configuration
from torchsid.study.frame import Case
from torchsid.training.setup import choose_device, set_up
from torchsid.training.step import Trainer


@dataclass(frozen=True)
class StepCost:
    """Medians over the rounds with first and third quartile; the ratio is taken within a round."""

    milliseconds: tuple[float, float, float]
    over_first: tuple[float, float, float]  # the first contender's step, at the same point of the axis where it has one there


def step_costs(experiment: Experiment, data: str = "") -> dict[Case, StepCost]:
    """Time a step of every cell in turns, `experiment.step_rounds` times after one of warm-up, with one thread.

    Each has fresh weights; what cannot be set up is left out.
    """
    made = {cell: each for cell in cells(experiment) if (each := _trainable(experiment, cell, data))}
    if not made:
        return {}
    with threads(1):
        rounds = take_rounds({str(cell): each for cell, each in made.items()}, experiment.step_rounds)
    times = {cell: [sum(step.values()) for step in rounds[str(cell)]] for cell in made}
    first, anyone = next(iter(experiment.contenders)), next(iter(times.values()))

    def cost(cell: Case) -> StepCost:
        base = times.get(Case(first, cell.at)) or times.get(Case(first)) or anyone
        return StepCost(spread([1000 * seconds for seconds in times[cell]]), spread(ratios(times[cell], base)))

    return {cell: cost(cell) for cell in made}


def _trainable(experiment: Experiment, cell: Case, data: str) -> Trainable | None:
    if experiment.contenders[cell.method].workers > 1:
        return None
    try:
        config = configuration(experiment, Job(cell, experiment.rates[0], experiment.seeds[0]), data)
        setup = set_up(config, choose_device(config.training.device))
    except (ConfigError, DataError):  # the runs have said so
        return None
    trainer = Trainer(setup)
    setup.learner.begin_epoch(1)
    setup.learner.module.train()
    batch = next(setup.batches.of_epoch(1))

    def step() -> None:
        torch.manual_seed(0)
        trainer.compute(batch)

    return Trainable(module=setup.learner.module, step=step, recorder=Recorder(GRADIENTS, str(setup.device)))
