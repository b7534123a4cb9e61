"""Generation: a language model goes on with a text, each token answered by the first stage that is sure of it.

x_{t+1} ~ p_i(· | x_{t−T+1} … x_t)^{1/τ} / Z,   i = min { i : p_i is sure }, or L where none is

`τ` is the temperature. What was read is read again for every token: there is no cache of keys and values.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchsid.anytime import Early, EarlyExit, ExitRule
from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import call, logits_of
from torchsid.core.cascade import Cascade
from torchsid.errors import NonFiniteError


class Token(NamedTuple):
    """A token that was generated."""

    id: int
    belief: float
    """The probability that it had, at temperature 1 and among all tokens."""
    stage: int
    """Which stage gave it, from 1; the last one where none was sure, or none was asked."""
    computed: int
    """The stages that ran for it."""


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen from a belief.

    Attributes:
        temperature: 1 draws from the belief as it is, less prefers what is likely; 0 takes the likeliest token.
        top_k: only the k likeliest tokens are drawn from; 0: all.
    """

    temperature: float = 1.0
    top_k: int = 0

    def choose(self, log_belief: Tensor, generator: torch.Generator) -> int:
        """Return the token that is chosen from log-probabilities `[V]`; the generator is one of the CPU."""
        count = min(self.top_k or len(log_belief), len(log_belief))
        likely = log_belief.double().cpu().topk(count)
        if not self.temperature:
            return int(likely.indices[0])
        drawn = torch.multinomial((likely.values / self.temperature).softmax(-1), 1, generator=generator)
        return int(likely.indices[drawn])


class _SureAtTheEnd(ExitRule):
    """Holds where a belief is sure of what follows the last token; those before it are past."""

    def __call__(self, log_belief: Tensor) -> Tensor:
        return super().__call__(log_belief[:, -1:])


class TextGenerator:
    """Continues texts with a network of tokens, which is in evaluation mode.

    Args:
        network: from tokens, int64 `[1, t]`, to logits `[1, t, V]`.
        context: T, the most tokens that it reads.
        exit_when: a rule such as `"confidence>0.9"`: a token comes from the first stage that is so sure of it, and later ones do
            not run. Without it the network's own answer is taken.
        sampling: how a token is chosen.

    Raises:
        ConfigError: the text states no rule.
        ValueError: a rule is given, and the network is no cascade.
        NonFiniteError: once it generates, where the weights have diverged.
    """

    def __init__(self, network: nn.Module, context: int, exit_when: str = "", sampling: Sampling = Sampling()) -> None:
        self._read = EarlyExit(network, _SureAtTheEnd.parse(exit_when)) if exit_when else _whole(network)  # type: ignore[arg-type]
        self._context, self._sampling = context, sampling
        self._device = next(network.parameters()).device

    @torch.no_grad()
    def __call__(self, tokens: Tensor, generator: torch.Generator) -> Iterator[Token]:
        """Yield tokens that follow `tokens`, int64 `[t]`, one after the other, as many as are asked for."""
        while True:
            tokens = tokens[-self._context :]
            found = self._read(tokens[None].to(self._device))
            last = found.log_belief[0, -1]
            if not bool(last.max().isfinite()):
                raise NonFiniteError("a belief holds NaN or infinity: the weights have diverged")
            chosen = self._sampling.choose(last, generator)
            yield Token(chosen, float(last[chosen].exp()), int(found.depth), int(found.computed))
            tokens = torch.cat([tokens, tokens.new_tensor([chosen])])


def _whole(network: nn.Module) -> Callable[[Tensor], Early]:
    depth = torch.tensor([network.depth if isinstance(network, Cascade) else 1])
    return lambda tokens: Early(to_log_belief(logits_of(call(network, tokens))), depth, depth)
