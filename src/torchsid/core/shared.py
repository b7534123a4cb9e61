"""The shared cascade, the paper's network: every stage reads the features of one extractor.

z = c(x);   p_0 = prior;   p_i = softmax(f_i(z, p_{i−1})),  i = 1 … L                           (arXiv 2510.03273, section 3)
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from torchsid.core.calling import Inputs, call
from torchsid.core.cascade import Cascade, Close, Positions
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import unknown_name

HeadKind = Literal["plain", "residual"]
Init = Literal["pytorch", "xavier", "kaiming", "orthogonal", "zero"]

_KEEP_WIDTH = (nn.Identity, nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_ACTIVATIONS = {getattr(nn, name) for name in nn.modules.activation.__all__} - {nn.GLU, nn.MultiheadAttention}

_WEIGHTS: dict[Init, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "zero": nn.init.zeros_,
}


class MLPHead(nn.Module):
    """The module of the paper: `g(p, z) = W₂ · relu(W₁ · [p, z] + b₁) + b₂`.

    * `plain`: `logits_i = g(p_{i−1}, z)`, the paper's.
    * `residual`: `logits_i = log p_{i−1} + g(p_{i−1}, z)` with `W₂ = b₂ = 0` at the start, so that every stage begins as the
      identity on beliefs and the premise of Proposition 2 holds from the first step, at any depth.

    Args:
        feature_dim: width F of the features.
        num_classes: C.
        hidden: width H of the hidden layer.
        kind: `"plain"` or `"residual"`.
        positions: where a sample's beliefs are; all M of `(M,)` come from the same features.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, *, hidden: int = 256, kind: HeadKind = "plain", positions: Positions = ()
    ) -> None:
        super().__init__()
        if kind not in get_args(HeadKind):
            raise ValueError(unknown_name("stage kind", kind, get_args(HeadKind)))
        self.kind = kind
        self.slots = bool(positions) and positions != "tokens"
        outputs = outputs_of(num_classes, positions)
        self.hidden = nn.Linear(outputs + feature_dim, hidden)
        self.output = nn.Linear(hidden, outputs)
        if kind == "residual":
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        """Return logits `[B, ..., C]` from features `[B, F]` or `[B, ..., F]` and the previous belief `[B, ..., C]`."""
        belief = log_belief.exp().to(features.dtype)
        u = torch.cat([belief.flatten(1) if self.slots else belief, features], -1)
        correction: Tensor = self.output(self.hidden(u).relu())
        correction = correction.view_as(belief) if self.slots else correction
        return log_belief + correction if self.kind == "residual" else correction


def outputs_of(num_classes: int, positions: Positions) -> int:
    """Return how many logits a head makes of one vector of features."""
    return num_classes if positions == "tokens" else num_classes * math.prod(positions)


def initialise(head: MLPHead, init: Init) -> None:
    """Give a head the weights that it begins with, in place. The last layer of a residual head stays zero, which makes it one.

    | init         | weights                                                        | biases      |
    | ------------ | -------------------------------------------------------------- | ----------- |
    | `pytorch`    | as they are: uniform in ±1/√(inputs)                           | as they are |
    | `xavier`     | uniform in ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010) | 0           |
    | `kaiming`    | normal, variance 2 / inputs (K. He et al., arXiv 1502.01852)   | 0           |
    | `orthogonal` | orthonormal rows or columns (Saxe et al., arXiv 1312.6120)     | 0           |
    | `zero`       | 0 in the last layer, the hidden layer's as they are            | the same    |

    With `zero` a plain head begins by answering with the uniform belief.

    Raises:
        ValueError: the name is unknown.
    """
    if init not in get_args(Init):
        raise ValueError(unknown_name("init", init, get_args(Init)))
    if init == "pytorch":
        return
    for layer in (head.hidden, head.output):
        if (layer is head.hidden and init != "zero") or (layer is head.output and (init == "zero" or head.kind == "plain")):
            _WEIGHTS[init](layer.weight)
            nn.init.zeros_(layer.bias)


class Stage(nn.Module):
    """One locally trained module: `(features, log_belief) -> (features, logits)`.

    It hands its features on untouched, so that every stage reads the extractor's `z`. A subclass may return new features; the next
    stage then reads those, detached. The head maps `(features, log_belief [B, ..., C])` to logits `[B, ..., C]`.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features for the next stage and this stage's logits `[B, ..., C]`."""
        return features, self.head(features, log_belief)


class SharedCascade(Cascade):
    """An extractor and L stages; see `Cascade`.

    The extractor maps inputs to features `z`; it is `nn.Identity()` when the stages read the input itself.
    """

    def __init__(
        self,
        extractor: nn.Module,
        stages: Iterable[Stage],
        num_classes: int,
        *,
        positions: Positions = (),
        log_prior: Tensor | None = None,
    ) -> None:
        super().__init__(num_classes, positions=positions, log_prior=log_prior)
        self.extractor = extractor
        self.stages = nn.ModuleList(stages)
        if not len(self.stages):
            raise ValueError("a cascade needs at least one stage: set depth to 1 or more")

    @property
    def depth(self) -> int:
        """The number of stages L."""
        return len(self.stages)

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of stage `stage` (from 0), under their names here; with L, those of the extractor."""
        if stage == self.depth:
            yield from self.extractor.named_parameters(prefix="extractor")
        else:
            yield from self.stages[stage].named_parameters(prefix=f"stages.{stage}")

    def features(self, x: Inputs) -> Tensor:
        """Return `z = c(x)`; a ValueError where that is no tensor."""
        z = call(self.extractor, x)
        if not isinstance(z, Tensor):
            raise ValueError(f"the extractor returns a {type(z).__name__}: let it return its features alone, one tensor")
        return z

    def run(self, x: Inputs, close: Close) -> None:
        """Run the extractor, then call `close` with the features for every stage; see `Cascade.run`."""
        self.run_stages(self.features(x), close)

    def run_stages(self, z: Tensor, close: Close) -> None:
        """Call `close` for every stage, with features that are there already."""
        tensors = [z]
        for stage in range(self.depth):
            tensors = close(stage, tensors)

    def answer(self, stage: int, tensors: list[Tensor], log_belief: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features that a stage hands on, and its logits; see `Cascade.answer`."""
        features, logits = self.stages[stage](tensors[0], log_belief)
        return [features], logits


def shared_cascade(
    extractor: nn.Module,
    num_classes: int,
    depth: int,
    *,
    hidden: int = 256,
    stage: HeadKind = "plain",
    init: Init = "pytorch",
    feature_dim: int | None = None,
    example: Inputs | None = None,
    positions: Positions = (),
    log_prior: Tensor | None = None,
) -> SharedCascade:
    """Build the paper's network: `depth` stages that all read the same features `z = c(x)`.

    Args:
        extractor: maps a batch to features `[B, F]`, or `[B, T, F]` with `positions="tokens"`.
        num_classes: C.
        depth: the number of stages L.
        hidden: width of each stage's hidden layer.
        stage: `"plain"` (the paper's) or `"residual"` (begins as the identity on beliefs).
        init: how the weights of the stages begin: `"pytorch"` (its own way), `"xavier"`, `"kaiming"`, `"orthogonal"`, or `"zero"`
            for the last layer of each, so that a plain stage begins with the uniform belief; see `initialise`.
        feature_dim: F; when not given, it is the extractor's `feature_dim` attribute, the width of its output for `example`, or
            the width of the linear layer it ends in.
        example: a small batch of inputs, to see the width of the features.
        positions: where a sample's beliefs are: one (`()`), M of them (`(M,)`), or one a token (`"tokens"`).
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.

    Raises:
        ValueError: `num_classes < 2`, `depth < 1`, `feature_dim` cannot be inferred, the example's features are no such vectors, or
            a name is unknown.
    """
    problems = []
    if num_classes < 2:
        problems.append(f"num_classes={num_classes}: a belief needs 2 classes or more")
    try:
        seen = output_width(extractor, example, positions)
        feature_dim = feature_dim or seen
        if feature_dim is None:
            problems.append(f"the output width of {type(extractor).__name__} cannot be seen from it: give feature_dim or example")
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    assert feature_dim is not None
    heads = [MLPHead(feature_dim, num_classes, hidden=hidden, kind=stage, positions=positions) for _ in range(depth)]
    for head in heads:
        initialise(head, init)
    return SharedCascade(extractor, map(Stage, heads), num_classes, positions=positions, log_prior=log_prior)


def output_width(extractor: nn.Module, example: Inputs | None, positions: Positions = ()) -> int | None:
    """Return the width of the extractor's features; None where there is no telling, a ValueError where no stage can read them."""
    seen = None
    if example is not None:
        with torch.no_grad(), without_side_effects(extractor):
            z = call(extractor.eval(), example)
        tokens = positions == "tokens"
        wanted, way_out = ("[B, T, F]", "return them alone") if tokens else ("[B, F]", "end it with pooling and nn.Flatten()")
        if not isinstance(z, Tensor) or z.dim() != wanted.count(",") + 1:
            shape = f"[B, {', '.join(map(str, z.shape[1:]))}]" if isinstance(z, Tensor) else f"a {type(z).__name__}"
            raise ValueError(f"{type(extractor).__name__} gives features {shape}, but stages read {wanted}: {way_out}")
        seen = z.shape[-1]
    declared = getattr(extractor, "feature_dim", seen)
    if isinstance(declared, int):
        return declared
    for last in reversed(list(extractor.modules())):
        if isinstance(last, nn.Linear):
            return last.out_features
        if isinstance(last, nn.LayerNorm | nn.RMSNorm):
            return last.normalized_shape[-1]
        if not (isinstance(last, _KEEP_WIDTH) or type(last) in _ACTIVATIONS or any(True for _ in last.children())):
            return None
    return None
