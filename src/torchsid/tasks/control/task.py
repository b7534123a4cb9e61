"""What to do: the return of each action in an environment of gymnasium."""

from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from torchsid.core.bins import Bins
from torchsid.settings import Count, CountOrZero, Positive, Share, Weight
from torchsid.tasks.control.agent import Agent, Conduct, TargetKind
from torchsid.tasks.control.environments import Kind, kind_of
from torchsid.tasks.domain import About, Splits, Task


@dataclass(frozen=True, kw_only=True)
class Control(Task):
    """Steps in an environment, with a belief about the return of each of its actions `[B, A, C]`, of which one was taken.

    An epoch is a pass over the remembered steps. While it lasts the agent acts, and so many of the oldest are forgotten.
    """

    name: str = "CartPole-v1"
    """The environment, by its name in gymnasium; its actions are a few, its observations some numbers."""
    max_steps: CountOrZero = 0
    """The most steps of an episode; 0 is the environment's own limit."""
    atoms: Annotated[int, Ge(2)] = 101
    """C, the bins of the returns."""
    low: float = -100.0
    """Where the returns begin; what is below counts as the lowest bin."""
    high: float = 100.0
    """Where they end."""
    discount: Share = 0.99
    """γ, what a reward that comes one step later is worth."""
    target: TargetKind = "projection"
    """What is to be believed: the distribution from the next step on, projected onto the bins, or a Gaussian about its mean."""
    sigma: Positive = 0.75
    """Of that Gaussian, in widths of a bin."""
    replay: Count = 10_000
    """N, the steps that are remembered; the first N are taken at random."""
    environments: Count = 10
    """How many are acted in at a time."""
    steps: Count = 20
    """Steps in each of them whenever the agent acts."""
    period: Count = 20
    """Training steps from one time that the agent acts to the next; until then targets are those of the network as it is now."""
    exploration: Count = 250_000
    """Steps over which the share ε of random ones falls from 1."""
    last_exploration: Weight = 0.05
    """ε from then on."""
    validation: CountOrZero = 5
    """Episodes that every stage plays after each epoch."""
    test: CountOrZero = 50
    """Episodes that every stage plays at the end."""

    reads_files = False
    collects = True
    judged_by = "return"

    def __post_init__(self) -> None:
        assert self.bins  # or it is a ValueError

    @property
    def bins(self) -> Bins:
        """C, of the returns."""
        try:
            return Bins(self.low, self.high, self.atoms)
        except ValueError as error:
            raise ValueError(f"high = {self.high:g}: {error}") from None

    @cached_property
    def kind(self) -> Kind:
        """The environment; a DataError where there is none, or it is of another kind."""
        return kind_of(self.name, self.max_steps)

    @property
    def positions(self) -> tuple[int]:  # type: ignore[override]
        """One for each action."""
        return (self.kind.actions,)

    def load(self, seed: int) -> Splits:
        """Return steps taken at random, and the agent that goes on from there."""
        conduct = Conduct(
            discount=self.discount,
            target=self.target,
            sigma=self.sigma,
            replay=self.replay,
            environments=self.environments,
            steps=self.steps,
            period=self.period,
            exploration=self.exploration,
            last_exploration=self.last_exploration,
            episodes={"validation": self.validation, "test": self.test},
        )
        bins = self.bins
        agent = Agent(self.kind, bins, conduct, seed=seed)
        none = agent.samples.take(slice(0))
        about: dict[str, Any] = {
            "name": self.name,
            "num_classes": bins.count,
            "class_names": [f"{centre:.4g}" for centre in bins.centres(torch.zeros(())).tolist()],
            "bins": {"low": bins.low, "high": bins.high, "count": bins.count, "sigma": self.sigma, "level": 0.9},
            "actions": self.kind.actions,
            "width": self.kind.width,
        }
        return Splits(agent.samples, none, none, about, {"arrays/train": agent.samples.sha256()}, collector=agent)

    def example(self, about: About) -> Tensor:
        """Return two observations."""
        return torch.zeros(2, about["width"])

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return the observations `[B, d]` of steps, of which they are the first numbers."""
        return inputs[:, : about["width"]]

    def show(self, inputs: Tensor, about: About) -> str:
        """Return the observation."""
        return f"<code>{escape(', '.join(f'{number:.3g}' for number in inputs[: about['width']].tolist()))}</code>"
