"""An agent that acts by the means of its beliefs, remembers, and learns from what follows: C51 (arXiv 1707.06887).

Z(s, a) is the discounted return of action a in observation s, p(s, a) the belief about it. What is learnt is, for remembered steps,

    p(s, a)  →  Φ( r + γ Z⁻(s′, a*) ),    a* = argmax_a E[Z⁻(s′, a)]

with the projection Φ onto the bins and Z⁻ of the last stage of the network as it stands when targets are set; behind a terminal
step there is r alone. With HL-Gauss the mean takes the distribution's place, `y = r + γ E[Z⁻(s′, a*)]` (arXiv 2403.03950).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from torchsid.core.bins import Bins
from torchsid.settings import Count, CountOrZero, Positive, Share, Weight
from torchsid.tasks.control.environments import Environments, Episode, Kind, play
from torchsid.tasks.domain import Believe, Collector, Samples, generator_at

TargetKind = Literal["projection", "hl-gauss"]

_ANSWERED = 2000  # remembered steps about which the network is asked at once
_SHOWN = 500  # steps of held-out episodes by which beliefs are judged


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """How an agent acts, and what it learns of that.

    Raises:
        ValueError: there are no such bins.
    """

    atoms: Annotated[int, Ge(2)] = 101
    """C, the bins of the returns."""
    low: float = -100.0
    """Lowest return; smaller ones count as the lowest bin."""
    high: float = 100.0
    """Where they end."""
    discount: Share = 0.99
    """γ, by which a reward one step later is discounted."""
    target: TargetKind = "projection"
    """The target: the distribution from the next step on, projected onto the bins, or a Gaussian around its mean."""
    sigma: Positive = 0.75
    """Of that Gaussian, in widths of a bin."""
    replay: Count = 10_000
    """N, the steps in the replay; the first N are random."""
    environments: Count = 10
    """Number of environments at a time."""
    steps: Count = 20
    """Steps in each of them every time the agent acts."""
    period: Count = 20
    """Training steps between two times that the agent acts; in between targets are those of the network at the first."""
    exploration: Count = 250_000
    """Steps over which the share ε of random ones falls from 1."""
    last_exploration: Weight = 0.05
    """ε from then on."""
    validation: CountOrZero = 5
    """Episodes that every stage plays after each epoch."""
    test: CountOrZero = 50
    """Episodes that every stage plays at the end."""

    def __post_init__(self) -> None:
        assert self.bins  # or it is a ValueError

    @property
    def bins(self) -> Bins:
        """C, of the returns."""
        try:
            return Bins(self.low, self.high, self.atoms)
        except ValueError as error:
            raise ValueError(f"high = {self.high:g}: {error}") from None


class Agent(Collector):
    """Acts in some environments, and keeps the last N steps.

    A step is stored as `[s, s′, a, r, terminal]`, `[2d + 3]`.

    Args:
        kind: the environment.
        conduct: how it acts and learns.
        seed: of everything that is random.
    """

    def __init__(self, kind: Kind, conduct: Conduct, *, seed: int) -> None:
        self.kind, self.bins, self.conduct, self.seed, self.every = kind, conduct.bins, conduct, seed, conduct.period
        self.environments = Environments(kind, _seeds(conduct.environments, generator_at("environments", seed)))
        target = torch.full((conduct.replay, kind.actions, self.bins.count), 1 / self.bins.count)
        self.samples = Samples(torch.zeros(conduct.replay, 2 * kind.width + 3), target, torch.ones(conduct.replay, kind.actions))
        self.taken = torch.zeros(1, dtype=torch.int64)
        """The steps in all environments that chose by beliefs."""
        self._seen = 0  # of these, by the environments as they are
        self._at_random: dict[str, float] = {}
        self._act(None, -(-conduct.replay // conduct.environments))

    def collect(self, believe: Believe, rows: Tensor) -> dict[str, float]:
        """Take some steps in all environments, in the place of the oldest ones, and set the targets of `rows` anew."""
        if self._seen != int(self.taken):  # which came from a checkpoint
            self.environments.restore()
        told = {"exploration": self._exploration}
        returns = self._act(believe, self.conduct.steps)
        self.taken += self.conduct.steps * self.conduct.environments
        self._seen = int(self.taken)
        self._aim(believe, rows)
        return told | ({"return": float(np.mean(returns))} if returns else {})

    def try_out(self, believe: Believe, part: str) -> tuple[Samples, dict[str, list[float]]]:
        """Play whole episodes by each belief, greedily, from the same beginnings; that of the prior acts at random.

        Samples are steps of those by the last stage; their target is the discounted return that came, as one number, with the
        last stage's own mean behind an episode that the limit of steps ended.
        """
        count: int = getattr(self.conduct, part)
        if not count:
            return self.samples.take(slice(0)), {}
        generator = generator_at(part, self.seed)
        seeds = _seeds(count, generator)
        if part not in self._at_random:
            episodes = play(self.kind, seeds, lambda seen: _random(len(seen), self.kind.actions, generator))
            self._at_random[part] = float(np.mean([each.rewards.sum() for each in episodes]))
        depth = len(believe(torch.zeros(1, self.kind.width))) - 1

        def act(seen: Tensor) -> NDArray[np.int64]:
            greedy = self.bins.mean(believe(seen)[1:]).argmax(-1).view(depth, depth, count)  # [stage, who plays, episode]
            return greedy.diagonal().T.flatten().numpy()

        episodes = play(self.kind, np.tile(seeds, depth), act)
        by_stage = np.array([each.rewards.sum() for each in episodes]).reshape(depth, count).mean(1)
        return self._steps_of(episodes[-count:], believe), {"return": [self._at_random[part], *by_stage.tolist()]}

    def state(self) -> dict[str, Tensor]:
        """Return where the environments are."""
        return {"agent:taken": self.taken, **self.environments.state()}

    @property
    def _exploration(self) -> float:
        """ε, which falls in a straight line from 1 over `exploration` steps."""
        least = self.conduct.last_exploration
        return max(1 - (1 - least) * int(self.taken) / self.conduct.exploration, least)

    def _act(self, believe: Believe | None, steps: int) -> list[float]:
        """Take so many steps in each environment, without a network at random; return the returns of the episodes that ended."""
        own, count, returns = self.environments, self.conduct.environments, list[float]()
        inputs, weight = (part.numpy() for part in (self.samples.inputs, self.samples.weight) if isinstance(part, Tensor))
        place = int(self.taken)
        generator = generator_at("random" if believe is None else "act", self.seed, place)
        for _ in range(steps):
            actions = _random(count, self.kind.actions, generator)
            if believe is not None:
                explores = (torch.rand(count, generator=generator) < self._exploration).numpy()
                greedy = self.bins.mean(believe(torch.from_numpy(own.observations))[-1]).argmax(-1).numpy()
                actions = np.where(explores, actions, greedy)
            seeds = _seeds(count, generator)
            for index, action in enumerate(actions.tolist()):
                before, row = own.observations[index].copy(), place % len(inputs)
                reward, terminal, ended = own.step(index, action)
                inputs[row] = [*before, *own.observations[index], action, reward, terminal]
                weight[row] = np.arange(self.kind.actions) == action
                place += 1
                if ended:
                    returns.append(float(own.returns[index]))
                    own.begin(index, int(seeds[index]))
        return returns

    def _aim(self, believe: Believe, chosen: Tensor) -> None:
        """Set the targets of some remembered steps by what the network believes now."""
        inputs, target, width = self.samples.inputs[:], self.samples.target[:], self.kind.width
        for start in range(0, len(chosen), _ANSWERED):
            rows = chosen[start : start + _ANSWERED]
            after, (action, reward, terminal) = inputs[rows, width : 2 * width], inputs[rows, 2 * width :].unbind(1)
            log_beliefs, each = believe(after)[-1], torch.arange(len(rows))  # [n, A, C]
            ahead = log_beliefs[each, self.bins.mean(log_beliefs).argmax(-1)]  # [n, C], of a*
            discount = self.conduct.discount * (1 - terminal)
            if self.conduct.target == "projection":
                values = reward.unsqueeze(1) + discount.unsqueeze(1) * self.bins.centres(ahead)
                found = self.bins.projected(values, ahead.exp())
            else:
                found = self.bins.hl_gauss(reward + discount * self.bins.mean(ahead), self.conduct.sigma)
            target[rows, action.long()] = found

    def _steps_of(self, episodes: list[Episode], believe: Believe) -> Samples:
        """Return steps of episodes with the returns that came, evenly thinned out."""
        last = self.bins.mean(believe(torch.from_numpy(np.stack([each.observations[-1] for each in episodes])))[-1]).amax(-1)
        seen, actions, returns = list[Tensor](), list[Tensor](), list[Tensor]()
        for episode, behind in zip(episodes, last.tolist(), strict=True):
            value = 0.0 if episode.terminal else behind
            backwards = [value := reward + self.conduct.discount * value for reward in episode.rewards[::-1].tolist()]
            returns.append(torch.tensor(backwards[::-1]))
            seen.append(torch.from_numpy(episode.observations[:-1]))
            actions.append(torch.from_numpy(episode.actions))
        total = sum(map(len, returns))
        chosen = torch.arange(min(total, _SHOWN)) * total // min(total, _SHOWN)
        inputs, action, came = (torch.cat(parts)[chosen] for parts in (seen, actions, returns))
        weight = torch.nn.functional.one_hot(action, self.kind.actions).float()
        rows = self.bins.projected(came.unsqueeze(1), torch.ones(len(came), 1)).unsqueeze(1)
        target, value = (each.expand(-1, self.kind.actions, *each.shape[2:]).contiguous() for each in (rows, came.unsqueeze(1)))
        return Samples(inputs, target, weight, value=value)


def _seeds(count: int, generator: torch.Generator) -> NDArray[np.int64]:
    return torch.randint(2**31, (count,), generator=generator).numpy()


def _random(count: int, actions: int, generator: torch.Generator) -> NDArray[np.int64]:
    return torch.randint(actions, (count,), generator=generator).numpy()
