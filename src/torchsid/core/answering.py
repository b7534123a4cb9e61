"""Layers each of which answers by a readout of its own, and learns from its own answer alone.

h_0 = x;   h_l = f_l(sg(h_{l−1})),   g_l = r_l(h_l),   L_l = KL(p_y ‖ softmax(g_l)),   l = 1 … L
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import to_log_belief
from torchsid.core.cascade import Cascade, Close
from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule

Together = Literal["last", "goodness", "beliefs"]


class AnsweringLayers(Cascade):
    """A sequence of layers with a readout each; at inference it says what the answers make together.

    * last: `p_l = softmax(g_l)`.
    * goodness: `p_l = softmax(Σ_j g_j)`, over `first ≤ j ≤ l`.
    * beliefs: `p_l = Σ_j softmax(g_j) / n`, over the same n layers.

    Before layer `first` each answers for itself.

    Args:
        layers: `f_1 … f_L`.
        readouts: `r_1 … r_L`, from what a layer makes to `[B, C]`.
        num_classes: C.
        together: how answers count at inference.
        first: the first layer, from 1, that counts in a sum.

    Raises:
        ValueError: there is no layer `first`.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        readouts: Iterable[nn.Module],
        num_classes: int,
        *,
        together: Together = "last",
        first: int = 1,
    ) -> None:
        super().__init__(num_classes)
        self.layers = nn.ModuleList(layers)
        self.readouts = nn.ModuleList(readouts)
        self.together, self.first = together, first
        if first > self.depth:
            raise ValueError(f"answers are added up from layer {first} on, and the network has {self.depth} that answer")

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.layers)

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of a layer (from 0) and of its readout, under their names here."""
        yield from self.layers[stage].named_parameters(prefix=f"layers.{stage}")
        yield from self.readouts[stage].named_parameters(prefix=f"readouts.{stage}")

    def run(self, x: Tensor, close: Close) -> None:  # type: ignore[override]
        """Run layer after layer; see `Cascade.run`."""
        h = x
        for stage, layer in enumerate(self.layers):
            (h,) = close(stage, [layer(h)])

    def answer(self, stage: int, tensors: list[Tensor], log_belief: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `Cascade.answer`."""
        return tensors, self.believed(stage, self.readouts[stage](tensors[0]), log_belief)

    def believed(self, stage: int, own: Tensor, log_belief: Tensor) -> Tensor:
        """Return the logits of `p_l` by the answer `g_l` of layer `stage` (from 0) and the belief before it, all `[B, C]`."""
        before = stage + 1 - self.first  # the answers in the belief
        if self.together == "last" or before <= 0:
            return own
        if self.together == "goodness":
            return log_belief + own
        return torch.logaddexp(log_belief + math.log(before), to_log_belief(own))


class AnsweringRule(Rule):
    """A rule for layers each of which learns from the cross-entropy of its own answer; a subclass makes them.

    Args:
        module: the layers with their readouts.
    """

    networks: ClassVar[tuple[str, ...]] = ("layered",)
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    takes_positions: ClassVar[bool] = False
    trains_stages: ClassVar[bool] = True
    module: AnsweringLayers
    window: int | None = 1

    def __init__(self, module: AnsweringLayers) -> None:
        self.module = module
        self.lookout = Lookout(module)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let one layer after the other learn, and hand on what it makes without its graph."""
        network, losses, answers = self.module, list[Tensor](), list[Tensor]()
        h, log_belief = batch.x, network.prior(batch.x)
        for stage, (layer, readout) in enumerate(zip(network.layers, network.readouts, strict=True)):
            h = layer(h.detach())
            own = readout(h)
            loss = batch.cross_entropy(own)
            batch.differentiate(stage, loss)
            losses.append(loss.detach())
            answers.append(logits := network.believed(stage, own.detach(), log_belief))
            log_belief = to_log_belief(logits)
        return losses, answers


def projections(network: Layered) -> list[nn.Module]:
    """Return a linear map without a bias for each hidden layer but the last: from what it makes, flattened, to `[B, C]`."""
    like = next(network.parameters())
    maps = (nn.Linear(size.numel(), network.num_classes, bias=False) for size in network.sizes[1:-2])
    return [nn.Sequential(nn.Flatten(), each.to(like.device, like.dtype)) for each in maps]
