"""Estimators for scikit-learn whose networks are trained in stages: `SIDClassifier` and `SIDRegressor`.

They need the extra `sklearn`; in pipelines, grid searches and cross-validation they are what any estimator is.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchsid.core.bins import Bins
from torchsid.core.objective import Alpha
from torchsid.cut.assemble import staged_cascade
from torchsid.learners.sid import SID
from torchsid.models.classifiers.perceptron import perceptron
from torchsid.packages import missing
from torchsid.tasks.splitting import hold_out

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise missing("sklearn", extra="sklearn", purpose="an estimator") from error

Array = NDArray[Any]
Network = nn.Module | Callable[[int, int], nn.Module]

_AT_ONCE = 4096  # rows in a forward pass that predicts
_MARGIN = 0.1  # of a regressor's support, on both sides of the training targets, as a share of their range


class Standardise(nn.Module):
    """`(x − μ) / σ` for every column of `[B, F]`, with the weighted mean and deviation of the rows it was made of."""

    mean: Tensor
    scale: Tensor

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        super().__init__()
        share = (weight / weight.sum()).unsqueeze(1)
        mean = (share * x).sum(0)
        deviation = (share * (x - mean).square()).sum(0).sqrt()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", deviation.where(deviation > 1e-6 * (1e-6 + mean.abs()), torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, F]`."""
        return (x - self.mean) / self.scale


@dataclass(eq=False, repr=False)
class _StagedEstimator(BaseEstimator):
    """What the two have in common: settings, network, cuts and loop. A subclass says what the outcomes are."""

    network: Network | None = None
    _: KW_ONLY
    stages: int | Sequence[str] = 3
    width: int = 128
    target_weight: Alpha = "auto"
    max_iter: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    random_state: int | np.random.RandomState | None = None
    device: str = "cpu"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Train from the beginning on rows `X`, targets `y` and, if given, a weight a row."""
        x, y, weight = self._weighed(X, y, sample_weight, reset=True)
        self._learn_outcomes(y[weight > 0])
        target = self._target(y)
        training, held_out = torch.arange(len(x)), torch.arange(0)
        self._begin(x, weight)
        if self.early_stopping:
            training, held_out = self._divide(target)
        self._train(torch.from_numpy(x), target, torch.from_numpy(weight), self.max_iter, training, held_out)
        return self

    def _partial_fit(self, x: Any, y: Any, sample_weight: Any, outcomes: Any) -> Self:
        """Take one pass over some rows; `outcomes` are all targets that there will be, which the first call learns."""
        first = not hasattr(self, "learner_")
        x, y, weight = self._weighed(x, y, sample_weight, reset=first)
        if first:
            self._learn_outcomes(y if outcomes is None else np.asarray(outcomes))
            self._begin(x, weight)
        everything = torch.arange(len(x))
        self._train(torch.from_numpy(x), self._target(y), torch.from_numpy(weight), 1, everything, everything[:0])
        return self

    @abstractmethod
    def _learn_outcomes(self, y: Array) -> None:
        """Take notice of the targets that can occur."""

    @property
    @abstractmethod
    def _outcomes(self) -> int:
        """C."""

    @abstractmethod
    def _target(self, y: Array) -> Tensor:
        """Return targets as the method learns them: classes `[N]`, or probability rows `[N, C]`."""

    @property
    def cascade_(self) -> nn.Module:
        """The trained cascade; its `model` is the network without a trace of how it was trained."""
        return self.learner_.module

    @property
    def n_iter_(self) -> int:
        """Passes over the training rows so far."""
        return len(self.loss_curve_)

    def _rows(self, x: Any, *others: Any, reset: bool = False) -> Any:
        """Return rows `[N, ...]`, and targets `[N]` where they are given, checked."""
        checks = {"dtype": [np.float64, np.float32], "allow_nd": self.network is not None, "reset": reset}
        return validate_data(self, x, *others, **checks, **({"y_numeric": isinstance(self, RegressorMixin)} if others else {}))

    def _weighed(self, x: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Array, Array, Array]:
        """Return rows `[N, ...]`, targets and weights `[N]`, checked."""
        x, y = self._rows(x, y, reset=reset)
        return x, y, _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)

    def _begin(self, x: Array, weight: Array) -> None:
        """Make the network, its cascade and the optimiser for rows like `x`."""
        self._check()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._generator = torch.Generator().manual_seed(seed)
        rows, stages = torch.from_numpy(x), self.stages
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if isinstance(self.network, nn.Module):
                model = deepcopy(self.network)
            elif self.network is not None:
                model = self.network(self.n_features_in_, self._outcomes)
            else:
                assert isinstance(self.stages, int)
                layers = perceptron(rows, self._outcomes, width=self.width, hidden_layers=self.stages)
                model = nn.Sequential(Standardise(rows, torch.from_numpy(weight)), *layers)
                stages = [str(1 + 2 * layer) for layer in range(1, self.stages)]  # behind all activations but the last
            example = rows[:2].to(self.device)
            model.to(example)
            cascade = staged_cascade(model, self._outcomes, stages or 1, example, max_head_share=float("inf")).to(example)
        self.learner_ = SID(cascade, alpha=self._alpha)
        self.optimizer_ = torch.optim.AdamW(cascade.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        self.loss_curve_: list[float] = []

    @property
    def _alpha(self) -> Alpha:
        return self.target_weight

    def _check(self) -> None:
        """Look at the settings; a ValueError names all that cannot be."""
        counts = ("max_iter", "batch_size", "width", "n_iter_no_change")
        problems = [f"{name} = {getattr(self, name)}: give 1 or more" for name in counts if getattr(self, name) < 1]
        if not 0 < self.validation_fraction < 1:
            problems.append(f"validation_fraction = {self.validation_fraction}: give a share between 0 and 1")
        if self.network is None and (not isinstance(self.stages, int) or self.stages < 1):
            problems.append(f"stages = {self.stages!r}: give 1 or more; names are those of submodules of a network of your own")
        if problems:
            raise ValueError("; ".join(problems))

    def _divide(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows train and which are held out, with the same share of every outcome."""
        labels = (target if target.dim() == 1 else target.argmax(-1)).numpy()
        seed = int(torch.randint(2**31, (), generator=self._generator))
        parts = hold_out(labels, self.validation_fraction, self._outcomes, seed)
        training, held_out = (torch.from_numpy(part) for part in parts)
        if not len(held_out):
            raise ValueError(f"early_stopping holds out none of {len(target)} rows: raise validation_fraction, or leave it out")
        return training, held_out

    def _train(self, x: Tensor, target: Tensor, weight: Tensor, passes: int, training: Tensor, held_out: Tensor) -> None:
        """Take passes over some rows; with others held out, stop when their loss stops falling, and keep the best weights."""
        best, waited, kept = float("inf"), 0, self.cascade_.state_dict()
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (), generator=self._generator)))
            for _ in range(passes):
                self.loss_curve_.append(self._take_pass(x, target, weight, training))
                if not len(held_out):
                    continue
                loss, waited = self._loss(x[held_out], target[held_out], weight[held_out]), waited + 1
                if loss < best:
                    best, waited, kept = loss, 0, deepcopy(self.cascade_.state_dict())
                elif waited == self.n_iter_no_change:
                    break
        self.cascade_.load_state_dict(kept)

    def _take_pass(self, x: Tensor, target: Tensor, weight: Tensor, rows: Tensor) -> float:
        """Take one pass over rows in a new order, and return the mean loss of the last stage."""
        self.cascade_.train()
        total = weighed = 0.0
        order = rows[torch.randperm(len(rows), generator=self._generator)]
        for part in torch.split(order, self.batch_size):
            inputs, aims, weights = (each[part].to(self.device) for each in (x, target, weight))
            self.optimizer_.zero_grad()
            out = self.learner_.backward(inputs.to(self._dtype), aims, weight=weights)
            self.optimizer_.step()
            total, weighed = total + float(out.stage_losses[-1] * weights.sum()), weighed + float(weights.sum())
        return total / max(weighed, 1e-300)

    def _loss(self, x: Tensor, target: Tensor, weight: Tensor) -> float:
        """Return the mean cross-entropy of the last stage."""
        rows = target if target.is_floating_point() else nn.functional.one_hot(target, self._outcomes)
        losses = -(rows * self._log_beliefs(x)[-1]).sum(-1)
        return float((weight * losses).sum() / weight.sum())

    @property
    def _dtype(self) -> torch.dtype:
        return self.learner_.module.log_prior.dtype

    def _log_beliefs(self, x: Tensor) -> Tensor:
        """Return what every stage believes of rows, `[L, N, C]`."""
        self.cascade_.eval()
        parts = [self.learner_.log_beliefs(part.to(self.device, self._dtype))[1:].cpu() for part in torch.split(x, _AT_ONCE)]
        return torch.cat(parts, dim=1)

    def _believed(self, x: Any) -> Tensor:
        check_is_fitted(self, "learner_")
        return self._log_beliefs(torch.from_numpy(self._rows(x)))


class SIDClassifier(ClassifierMixin, _StagedEstimator):
    """A classifier trained by SID: every stage has a local loss, and is an answer.

    Numbers are computed in the precision of the first `X`.

    Args:
        network: an `nn.Module` from rows `[N, ...]` to logits `[N, C]`, of which every fit trains a copy; or a function of the
            number of columns and C that makes one. By default columns are standardised, and a perceptron has a layer a stage.
        stages: into how many it is cut; or the names of the submodules of `network` after which to cut.
        width: of the hidden layers of the default network.
        target_weight: α of the paper, the weight of the target in a stage's loss, beside the belief of the stage before: a number,
            one a stage or a schedule, see `torchsid.SID`. What scikit-learn calls alpha, a penalty, is `weight_decay`.
        max_iter: passes over the training rows, at most.
        batch_size: rows a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        early_stopping: whether to hold out rows, to stop where the loss on them stops falling, and to keep the best weights.
        validation_fraction: the share of rows that is held out.
        n_iter_no_change: passes to wait for an improvement.
        random_state: seed, or NumPy's generator, of weights, order, dropout and the rows held out.
        device: where it is trained, as PyTorch names it.

    Attributes:
        classes_: labels in the order of the columns of `predict_proba`.
        cascade_: the trained cascade; `cascade_.model` is the network alone.
        loss_curve_: the last stage's mean loss in every pass.
        n_iter_: passes taken.
        n_features_in_: columns of the rows; their names are `feature_names_in_`, where they have some.
    """

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Take one pass over some rows. The first call learns all labels that there will be from `classes`, else from `y`."""
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Return the last stage's belief, `[N, C]`."""
        return np.asarray(self._believed(X)[-1].exp())

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:  # noqa: N803
        """Yield the belief after every stage, `[N, C]`."""
        yield from (np.asarray(belief) for belief in self._believed(X).exp())

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return the likeliest label, `[N]`."""
        return self._labels(self._believed(X)[-1])

    def staged_predict(self, X: Any) -> Iterator[Array]:  # noqa: N803
        """Yield the likeliest label after every stage, `[N]`."""
        yield from map(self._labels, self._believed(X))

    def _labels(self, log_belief: Tensor) -> Array:
        return np.asarray(self.classes_[log_belief.argmax(-1).numpy()])

    def _learn_outcomes(self, y: Array) -> None:
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[:1]}: a classifier needs 2 or more")

    @property
    def _outcomes(self) -> int:
        return len(self.classes_)

    def _target(self, y: Array) -> Tensor:
        if len(unknown := np.setdiff1d(y, self.classes_)):
            raise ValueError(f"y has labels {unknown} that are not in classes_ = {self.classes_}: give all to the first call")
        return torch.from_numpy(np.searchsorted(self.classes_, y))


@dataclass(eq=False, repr=False)
class SIDRegressor(RegressorMixin, _StagedEstimator):
    """A regressor trained by SID: its answer is the mean of a belief over bins of the targets' range, which has intervals too.

    Targets are Gaussians over bins (HL-Gauss; see `torchsid.core.bins.Bins`). The first and the last stage learn from them alone,
    since below α = 1 an answer is drawn to the middle of the range.

    Args:
        bins: C, into which the range of the training targets, and a tenth of it on either side, is divided.

    The other settings and attributes are those of `SIDClassifier`; `bins_` is in the place of `classes_`.
    """

    bins: int = 64

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, support: Any = None) -> Self:  # noqa: N803
        """Take one pass over some rows. The first call learns the range of all targets from `support`, else from `y`."""
        return self._partial_fit(X, y, sample_weight, support)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return the mean of the last stage's belief, `[N]`."""
        return self._means(self._believed(X)[-1])

    def staged_predict(self, X: Any) -> Iterator[Array]:  # noqa: N803
        """Yield the mean of the belief after every stage, `[N]`."""
        yield from map(self._means, self._believed(X))

    def predict_interval(self, X: Any, level: float = 0.9) -> Array:  # noqa: N803
        """Return the ends of the central interval that holds a share `level` of the last stage's belief, `[N, 2]`."""
        if not 0 < level < 1:
            raise ValueError(f"level = {level}: give a share between 0 and 1")
        return np.stack([np.asarray(end) for end in self.bins_.interval(self._believed(X)[-1], level)], axis=1)

    def _means(self, log_belief: Tensor) -> Array:
        return np.asarray(self.bins_.mean(log_belief))

    def _learn_outcomes(self, y: Array) -> None:
        low, high = float(np.min(y)), float(np.max(y))
        margin = _MARGIN * (high - low) or 0.5  # of constant targets, which have no range
        self.bins_ = Bins(low - margin, high + margin, self.bins)

    @property
    def _outcomes(self) -> int:
        return self.bins_.count

    @property
    def _alpha(self) -> Alpha:
        return "ends:1:0.75" if self.target_weight == "auto" else self.target_weight

    def _target(self, y: Array) -> Tensor:
        return self.bins_.hl_gauss(torch.from_numpy(np.asarray(y, dtype=np.float64)))
