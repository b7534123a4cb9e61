"""PETRA: reversible stages update in parallel, and reconstruct their inputs by their weights of now (Rivaud et al. 2025)."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule
from torchsid.models.reversible import Coupling, ReversibleNetwork

_ROUND = 2  # steps from stage j to the one above and back


class PETRA(Rule):
    """Trains a reversible network as a pipeline without a stash of weights: in each step every stage works, on different batches.

    Stage j of J sends its output up, and gets back the message (output, gradient) for it when `τ_j = 2(J − j)` steps, and
    updates, have passed. With its current weights it reverses the output and differentiates there:

        x = ỹ,   x̃ = y − F_θ(ỹ);     δ_x = δ_ỹ + (∂F_θ/∂x)ᵀ δ_y,   δ_x̃ = δ_y;     ∂L/∂θ += (∂F_θ/∂θ)ᵀ δ_y

    and sends `(x, x̃)` and its gradient down. Stages that cannot be reversed, which change the shape, keep their inputs for `τ_j`
    steps. The last stage answers and learns at once. The clock of stage j is shifted by j ticks of the published pipeline, so
    that the reported loss and belief are of its own batch; each stage makes the same updates by the same messages.

    Source: S. Rivaud et al., ICLR 2025. Stored: no activations; two messages a stage, and the inputs of those that cannot be
    reversed. Locked: nothing, in a pipeline; here one process runs the stages in turn. It is backpropagation within a stage, and
    its gradient needs the weights of the next. Running statistics are of forward passes alone. Steps are not captured as CUDA
    graphs. Gradients are 0 until the first message arrives; a batch of NaN spoils the steps until its messages have passed.

    Args:
        network: a reversible network.

    Raises:
        ValueError: it is none, or has a single stage.
    """

    networks: ClassVar[tuple[str, ...]] = ("reversible",)
    locks: ClassVar[frozenset[Lock]] = frozenset()
    transports_weights: ClassVar[bool] = True
    takes_positions: ClassVar[bool] = False
    delays_gradients: ClassVar[bool] = True
    module: ReversibleNetwork

    def __init__(self, network: ReversibleNetwork) -> None:
        if not isinstance(network, ReversibleNetwork) or network.depth < 2:
            what = f"PETRA trains a reversible network of two stages or more, not a {type(network).__name__}"
            raise ValueError(f"{what}: set model.network = 'reversible', or take another method")
        self.module, empty = network, next(network.parameters()).detach().new_empty(0)

        def queue(length: int) -> deque[Tensor]:
            return deque(empty.clone() for _ in range(length))

        network.under_way = {}
        for j, stage in enumerate(network.stages[:-1]):
            network.under_way |= {f"output {j}": queue(_ROUND), f"gradient {j}": queue(_ROUND)}
            if not isinstance(stage, Coupling):
                network.under_way[f"input {j}"] = queue(_ROUND * (network.depth - 1 - j))
        self.lookout = Lookout(network, idle_steps=self.idle_steps)

    @property
    def idle_steps(self) -> int:
        """See `Learner.idle_steps`: so many until a gradient has come down to the first stage."""
        return _ROUND * (self.module.depth - 1)

    def state(self) -> dict[str, Tensor]:
        """Return the messages and inputs that are under way."""
        queues = self.module.under_way.items()
        return {f"{name}:{place}": tensor for name, queue in queues for place, tensor in enumerate(queue)}

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run forward; then let every stage do what the message says that has come for it, and send one down."""
        stages, queues, scale = self.module.stages, self.module.under_way, batch.scales[0]
        h = batch.x
        with torch.no_grad():
            for j, stage in enumerate(stages[:-1]):
                if f"input {j}" in queues:
                    queues[f"input {j}"].append(h)
                h = stage(h)
        h = h.detach().requires_grad_()
        logits = stages[-1](h)
        for j, stage in enumerate(stages[:-1]):
            output, gradient = queues[f"output {j}"].popleft(), queues[f"gradient {j}"].popleft()
            kept = queues[f"input {j}"].popleft() if f"input {j}" in queues else None
            if gradient.numel():
                x, gradient = _undo(stage, output, gradient, kept, scale, first=j == 0)
            else:
                x = output
                _add(stage, [torch.zeros_like(each) for each in _trained(stage)], scale)
            if j:
                queues[f"output {j - 1}"].append(x)
                queues[f"gradient {j - 1}"].append(gradient)
        queues[f"output {len(stages) - 2}"].append(h.detach())
        queues[f"gradient {len(stages) - 2}"].append(_pull_back(stages[-1], logits, batch.error(logits), h, scale))
        return [batch.cross_entropy(logits)], [logits]


def _undo(
    stage: nn.Module, output: Tensor, gradient: Tensor, kept: Tensor | None, scale: Tensor, *, first: bool
) -> tuple[Tensor, Tensor]:
    """Add a stage's gradient; return its input, kept or reconstructed, and the gradient of that, or anything for the first."""
    with _recording_nothing(stage):
        if kept is not None:
            x = kept.detach().requires_grad_(not first)
            return kept, _pull_back(stage, stage(x), gradient, x, scale)
        assert isinstance(stage, Coupling)
        (y, x), (of_y, of_x) = output.chunk(2, 1), gradient.chunk(2, 1)
        x = x.detach().requires_grad_()
        f = stage.branch(x)
        through = _pull_back(stage, f, of_y, x, scale)
        return torch.cat([x, y - f], 1).detach(), torch.cat([of_x + through, of_y], 1)


def _pull_back(stage: nn.Module, output: Tensor, gradient: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """Add the scaled gradient to that of the stage's parameters; return that of `x`, not scaled, 0 where it needs none."""
    wanted = [*([x] if x.requires_grad else []), *_trained(stage)]
    found = list(torch.autograd.grad(output, wanted, gradient)) if wanted else []
    of_x = found.pop(0) if x.requires_grad else torch.zeros_like(x)
    _add(stage, found, scale)
    return of_x


def _add(stage: nn.Module, gradients: Sequence[Tensor], scale: Tensor) -> None:
    for parameter, gradient in zip(_trained(stage), gradients, strict=True):
        scaled = (scale * gradient).to(parameter.dtype)
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled


def _trained(stage: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in stage.parameters() if parameter.requires_grad]


@contextmanager
def _recording_nothing(stage: nn.Module) -> Iterator[None]:
    """Have normalisations use the statistics of the batch, and record none."""
    norms = [each for each in stage.modules() if isinstance(each, _NormBase) and each.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
