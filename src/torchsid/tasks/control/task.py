"""What to do: the return of each action in an environment of gymnasium."""

from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import torch
from torch import Tensor

from torchsid.settings import CountOrZero
from torchsid.tasks.control.agent import Agent, Conduct
from torchsid.tasks.control.environments import Kind, kind_of
from torchsid.tasks.domain import About, Splits, Task


@dataclass(frozen=True, kw_only=True)
class Control(Conduct, Task):
    """Steps in an environment, with a belief about the return of each of its actions `[B, A, C]`, of which one was taken.

    An epoch is a pass over the replay. Meanwhile the agent acts, and its steps replace the oldest.
    """

    name: str = "CartPole-v1"
    """Name of the environment in gymnasium; it must have discrete actions and vectors as observations."""
    max_steps: CountOrZero = 0
    """The most steps of an episode; 0 is the environment's own limit."""

    reads_files = False
    collects = True
    judged_by = "return"

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
        bins = self.bins
        agent = Agent(self.kind, self, seed=seed)
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
