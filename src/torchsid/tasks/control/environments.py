"""Environments of gymnasium that are stepped together, each of which is where its seed and its actions have led."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchsid.errors import DataError
from torchsid.packages import require

Act = Callable[[Tensor], NDArray[np.int64]]
"""From observations `[E, d]` to actions, from 0, `[E]`."""


@dataclass(frozen=True)
class Kind:
    """What an environment is: a few actions, observations of some numbers, and a limit of steps."""

    name: str
    actions: int  # A
    first: int  # what the environment calls the first of them
    width: int  # d, the numbers of an observation
    limit: int  # T, the most steps of an episode

    def make(self) -> Any:
        """Return a new environment."""
        return _make(self.name, self.limit)


def kind_of(name: str, max_steps: int = 0) -> Kind:
    """Return what an environment is, by its name in gymnasium; with 0 its episodes have its own limit of steps.

    Raises:
        DataError: gymnasium is not installed or has no such environment, or it is one of another kind; names all problems.
    """
    made = _make(name, max_steps)
    actions, seen, limit = made.action_space, made.observation_space, made.spec.max_episode_steps
    problems = []
    if not hasattr(actions, "n") or actions.shape:
        what = f"its actions are {actions}, and there is a belief about the return of each of a few"
        problems.append(f"{what}: choose an environment with Discrete actions, such as CartPole-v1")
    if not hasattr(seen, "low") or len(seen.shape) != 1:
        problems.append(f"it shows {seen}: choose one that shows a few numbers, a Box of one axis, such as CartPole-v1")
    if not limit:
        problems.append("its episodes have no limit of steps: set data.max_steps")
    if problems:
        raise DataError(f"data.name = {name!r}: {'; '.join(problems)}")
    return Kind(name, int(actions.n), int(actions.start), int(seen.shape[0]), int(limit))


def _make(name: str, max_steps: int) -> Any:
    gymnasium = require("gymnasium", extra="control", purpose=f"the environment {name!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # there may be a newer version: this one was asked for
            return gymnasium.make(name, max_episode_steps=max_steps or None, disable_env_checker=True)
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        advice = "`gymnasium.pprint_registry()` lists those there are"
        raise DataError(f"data.name = {name!r}: gymnasium cannot make it: {error}; {advice}") from None


class Environments:
    """E environments of a kind.

    Attributes:
        seeds: int64 `[E]`, with which the running episode of each began.
        actions: int16 `[E, T]`, what was done in it; what lies behind its `lengths` is of earlier ones.
        lengths: int64 `[E]`, its steps so far.
        observations: float32 `[E, d]`, what each shows now.
        returns: float64 `[E]`, the rewards of the running episodes, added up.
    """

    def __init__(self, kind: Kind, seeds: NDArray[np.int64]) -> None:
        count = len(seeds)
        self.kind = kind
        self.seeds, self.lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.actions = np.zeros((count, kind.limit), np.int16)
        self.observations = np.zeros((count, kind.width), np.float32)
        self.returns = np.zeros(count)
        self._made = [kind.make() for _ in range(count)]
        for index, seed in enumerate(seeds):
            self.begin(index, int(seed))

    def begin(self, index: int, seed: int) -> None:
        """Begin an episode in one of them."""
        self.seeds[index], self.lengths[index], self.returns[index] = seed, 0, 0.0
        self.observations[index] = self._made[index].reset(seed=seed)[0]

    def step(self, index: int, action: int) -> tuple[float, bool, bool]:
        """Take an action, from 0, in one of them; return the reward, whether nothing can follow, and whether the episode ends."""
        observed, reward, terminal, cut, _ = self._made[index].step(action + self.kind.first)
        self.observations[index] = observed
        self.returns[index] += float(reward)
        self.actions[index, self.lengths[index]] = action
        self.lengths[index] += 1
        return float(reward), bool(terminal), bool(terminal or cut)

    def state(self) -> dict[str, Tensor]:
        """Return where they are, for a checkpoint."""
        parts = {"seeds": self.seeds, "actions": self.actions, "lengths": self.lengths}
        return {f"environments:{name}": torch.from_numpy(part) for name, part in parts.items()}

    def restore(self) -> None:
        """Bring them to where the state, which may have been filled from a checkpoint, says that they are."""
        for index, (seed, length) in enumerate(zip(self.seeds.tolist(), self.lengths.tolist(), strict=True)):
            self.begin(index, seed)
            for action in self.actions[index, :length].tolist():
                self.step(index, action)


@dataclass(frozen=True)
class Episode:
    """One episode, to its end."""

    observations: NDArray[np.float32]  # `[t + 1, d]`
    actions: NDArray[np.int64]  # `[t]`
    rewards: NDArray[np.float64]  # `[t]`
    terminal: bool  # whether nothing could follow; if not, the limit of steps ended it


def play(kind: Kind, seeds: NDArray[np.int64], act: Act) -> list[Episode]:
    """Return an episode for each seed; in every step all environments are acted in, those that have ended for nothing."""
    environments = Environments(kind, seeds)
    seen: list[list[NDArray[np.float32]]] = [[each.copy()] for each in environments.observations]
    rewards: list[list[float]] = [[] for _ in seeds]
    terminal, running = [False] * len(seeds), set(range(len(seeds)))
    while running:
        actions = act(torch.from_numpy(environments.observations))
        for index in sorted(running):
            reward, terminal[index], ended = environments.step(index, int(actions[index]))
            rewards[index].append(reward)
            seen[index].append(environments.observations[index].copy())
            if ended:
                running.remove(index)
    return [
        Episode(np.stack(shown), environments.actions[index, : len(got)].astype(np.int64), np.array(got), terminal[index])
        for index, (shown, got) in enumerate(zip(seen, rewards, strict=True))
    ]
