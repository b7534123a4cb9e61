"""The cascade: an extractor, then stages that refine a belief.

z = c(x);   p_0 = prior;   p_i = softmax(f_i(z, p_{i−1})),  i = 1 … L                           (arXiv 2510.03273, section 3)
"""

from collections.abc import Iterable, Iterator
from typing import get_args

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import to_log_belief, uniform_prior
from torchsid.core.calling import Inputs, call
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import unknown_name
from torchsid.heads import HeadKind, MLPHead
from torchsid.heads.initialise import Init, initialise


class Stage(nn.Module):
    """One locally trained module: `(features, log_belief) -> (features, logits)`.

    A stage of a shared cascade hands its features on untouched, so that every stage reads the extractor's `z`. A subclass may
    return new features; the next stage then reads those, detached.

    Args:
        head: maps `(features, log_belief [B, C])` to logits `[B, C]`.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features for the next stage and this stage's logits `[B, C]`."""
        return features, self.head(features, log_belief)


class BeliefNetwork(nn.Module):
    """What every cascade has: the number of classes and the prior belief `p_0`.

    Args:
        num_classes: C.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.
    """

    log_prior: Tensor

    def __init__(self, num_classes: int, *, log_prior: Tensor | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        log_prior = uniform_prior(num_classes) if log_prior is None else log_prior
        if log_prior.shape != (num_classes,):
            raise ValueError(f"log_prior has shape {tuple(log_prior.shape)}; {num_classes} classes need [{num_classes}]")
        self.register_buffer("log_prior", log_prior)

    def prior(self, features: Tensor) -> Tensor:
        """Return `p_0` for each sample of `features`, log-probabilities `[B, C]`, in at least float32."""
        log_prior = to_log_belief(self.log_prior)  # normalised anew: a cast of the module to bfloat16 rounds the buffer
        return log_prior.expand(features.shape[0], -1)

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`; row 0 is the prior, row L the answer."""
        raise NotImplementedError


class Cascade(BeliefNetwork):
    """An extractor and L stages; an ordinary `nn.Module` whose output is the last stage's logits.

    Args:
        extractor: maps inputs to features `z`; `nn.Identity()` when the stages read the input itself.
        stages: at least one.
        num_classes: C.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.
    """

    def __init__(self, extractor: nn.Module, stages: Iterable[Stage], num_classes: int, *, log_prior: Tensor | None = None) -> None:
        super().__init__(num_classes, log_prior=log_prior)
        self.extractor = extractor
        self.stages = nn.ModuleList(stages)
        if not len(self.stages):
            raise ValueError("a cascade needs at least one stage: set depth to 1 or more")

    @property
    def depth(self) -> int:
        """The number of stages L."""
        return len(self.stages)

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that stage `stage` (from 0) trains, under their names here; with L, those of the extractor."""
        if stage == self.depth:
            yield from self.extractor.named_parameters(prefix="extractor")
        else:
            yield from self.stages[stage].named_parameters(prefix=f"stages.{stage}")

    def refine(self, features: Tensor, log_belief: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the stages on features; return the last logits `[B, C]` and all log-beliefs `[L+1, B, C]`.

        Row 0 is `log_belief`, or else the prior.
        """
        log_beliefs = [self.prior(features) if log_belief is None else log_belief]
        for stage in self.stages:
            features, logits = stage(features, log_beliefs[-1])
            log_beliefs.append(to_log_belief(logits))
        return logits, torch.stack(log_beliefs)

    def forward(self, x: Inputs) -> Tensor:
        """Return the logits of the last stage, `[B, C]`: ordinary feed-forward inference."""
        return self.refine(self.features(x))[0]

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`; row 0 is the prior, row L the answer."""
        return self.refine(self.features(x))[1]

    def features(self, x: Inputs) -> Tensor:
        """Return `z = c(x)`."""
        z = call(self.extractor, x)
        assert isinstance(z, Tensor)
        return z


def shared_cascade(
    extractor: nn.Module,
    num_classes: int,
    depth: int,
    *,
    hidden: int = 256,
    stage: HeadKind = "plain",
    init: Init = "pytorch",
    feature_dim: int | None = None,
    example: Tensor | None = None,
    log_prior: Tensor | None = None,
) -> Cascade:
    """Build the paper's network: `depth` stages that all read the same features `z = c(x)`.

    Args:
        extractor: maps a batch to features `[B, F]`.
        num_classes: C.
        depth: the number of stages L.
        hidden: width of each stage's hidden layer.
        stage: `"plain"` (the paper's) or `"residual"` (begins as the identity on beliefs).
        init: how the weights of the stages begin: `"pytorch"` (its own way), `"xavier"`, `"kaiming"`, `"orthogonal"`, or `"zero"`
            for the last layer of each, so that a plain stage begins with the uniform belief; see `torchsid.heads.initialise`.
        feature_dim: F; when not given, it is the extractor's `feature_dim` attribute, the width of its output for `example`, or
            the width of the linear layer it ends in.
        example: a small batch of inputs, to see the width of the features.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.

    Raises:
        ValueError: `num_classes < 2`, `depth < 1`, `feature_dim` cannot be inferred, or `init` is unknown; all problems at once.
    """
    problems = []
    if num_classes < 2:
        problems.append(f"num_classes={num_classes}: a belief needs 2 classes or more")
    if depth < 1:
        problems.append(f"depth={depth}: a cascade needs 1 stage or more")
    feature_dim = feature_dim or _output_width(extractor, example)
    if feature_dim is None:
        problems.append(
            f"the output width of {type(extractor).__name__} cannot be seen from its layers: give feature_dim or example"
        )
    if init not in get_args(Init):
        problems.append(unknown_name("init", init, get_args(Init)))
    if problems:
        raise ValueError("; ".join(problems))
    assert feature_dim is not None
    heads = [MLPHead(feature_dim, num_classes, hidden=hidden, kind=stage) for _ in range(depth)]
    for head in heads:
        initialise(head, init)
    return Cascade(extractor, map(Stage, heads), num_classes, log_prior=log_prior)


def _output_width(extractor: nn.Module, example: Tensor | None) -> int | None:
    """Return the width of the extractor's features, or None when there is no telling."""
    declared = getattr(extractor, "feature_dim", None)
    if isinstance(declared, int):
        return declared
    if example is not None:
        with torch.no_grad(), without_side_effects(extractor):
            return int(extractor.eval()(example).shape[-1])
    *_, last = extractor.modules()
    return last.out_features if isinstance(last, nn.Linear) else None
