"""How good every stage's belief is on a set of images, in plain numbers."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from torchsid.core.side_effects import without_side_effects

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 15  # of confidence, equal in width: Guo et al. (arXiv 1706.04599)


class Predictor(Protocol):
    """A network that answers with the belief after every stage; every learner is one."""

    @property
    def module(self) -> nn.Module:
        """The network."""

    def log_beliefs(self, x: Tensor) -> Tensor:
        """Return the log-beliefs `[L+1, B, C]` for a batch."""


class LabelledImages(Protocol):
    """Images and their classes; `torchsid.tasks.images.ImageSet` is one."""

    @property
    def images(self) -> Tensor:
        """The images `[N, C, H, W]`, uint8."""

    @property
    def labels(self) -> Tensor:
        """The classes `[N]`, int64."""


def unbroken(holds: Tensor) -> Tensor:
    """Return for how many stages, counted back from the last, a condition (bool `[L, N]`) has held without a break, int64 `[N]`.

    `unbroken(answers == answers[-1])` is for how many stages the final answer has stood.
    """
    return holds.flip(0).cumprod(0).sum(0)


def evaluate(
    predictor: Predictor | Callable[[Tensor], Tensor],
    data: LabelledImages,
    *,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int = 500,
) -> dict[str, Any]:
    """Return accuracy, divergence, calibration and confusion of every belief `p_0 … p_L`, as JSON can hold them.

    Args:
        predictor: a learner, which is put into evaluation mode meanwhile, or a function from a batch to log-beliefs `[L+1, B, C]`.
        data: at least one image.
        prepare: from uint8 images to what the network reads, on its device.
        batch_size: images a pass; the result is the same for every size, up to rounding.

    Returns:
        `n`; `accuracy`, `kl` (mean KL(target ‖ p_i) in nats; for one-hot targets the negative log-likelihood) and `ece` (expected
        calibration error), each `[L+1]`; `kl_quantiles` over the images; of the last stage `confusion` (rows: true class),
        `calibration` (mean confidence, accuracy and count of each bin; 0 where a bin is empty) and `correct` (a 0 or 1 an image).

    Raises:
        ValueError: there are no images.
    """
    count = len(data.labels)
    if not count:
        raise ValueError("no images to evaluate on: set data.validation above 0 or choose another split")
    kl, confidence, prediction, classes = [], [], [], 0
    for start in range(0, count, batch_size):
        images, labels = data.images[start : start + batch_size], data.labels[start : start + batch_size]
        log_beliefs = predict(predictor, images, prepare=prepare, batch_size=batch_size)  # [L+1, B, C]
        classes = log_beliefs.shape[-1]
        kl.append(-log_beliefs.gather(-1, labels.expand(len(log_beliefs), -1).unsqueeze(-1)).squeeze(-1))
        best = log_beliefs.max(dim=-1)
        confidence.append(best.values.exp())
        prediction.append(best.indices)
    per_image = torch.cat(kl, dim=1).double()  # [L+1, N], and so the next two
    confidences, predictions = torch.cat(confidence, dim=1).double(), torch.cat(prediction, dim=1)
    correct = predictions == data.labels
    bins = [
        calibration(stage_confidence, stage_correct) for stage_confidence, stage_correct in zip(confidences, correct, strict=True)
    ]
    return {
        "n": count,
        "accuracy": correct.double().mean(dim=1).tolist(),
        "kl": per_image.mean(dim=1).tolist(),
        "ece": [expected_calibration_error(stage) for stage in bins],
        "confusion": confusion(data.labels, predictions[-1], classes).tolist(),
        "calibration": bins[-1],
        "correct": "".join("1" if right else "0" for right in correct[-1].tolist()),
        "kl_quantiles": {str(q): per_image.quantile(q, dim=1).tolist() for q in QUANTILES},
    }


def predict(
    predictor: Predictor | Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int = 500,
) -> Tensor:
    """Return the log-beliefs `[L+1, N, C]`, float32 on the CPU; modes, buffers and random numbers stay as they were."""
    function = predictor if callable(predictor) and not hasattr(predictor, "log_beliefs") else predictor.log_beliefs
    with ExitStack() as stack:
        module = getattr(predictor, "module", None)
        if isinstance(module, nn.Module):
            stack.enter_context(without_side_effects(module))
            training = {part: part.training for part in module.modules()}
            stack.callback(_restore_modes, training)
            module.eval()
        stack.enter_context(torch.no_grad())
        parts = [function(prepare(batch)).float().cpu() for batch in torch.split(images, batch_size)]
    return torch.cat(parts, dim=1)


def calibration(confidence: Tensor, correct: Tensor) -> dict[str, list[float]]:
    """Return mean confidence, accuracy and count of the images in each of the equal bins of confidence, from 0 to 1."""
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(index, minlength=BINS)
    filled = count.clamp(min=1)
    return {
        "confidence": (torch.bincount(index, weights=confidence, minlength=BINS) / filled).tolist(),
        "accuracy": (torch.bincount(index, weights=correct.double(), minlength=BINS) / filled).tolist(),
        "count": count.tolist(),
    }


def expected_calibration_error(bins: dict[str, list[float]]) -> float:
    """Return `Σ_b n_b/N · |accuracy_b − confidence_b|` of the bins that `calibration` gave."""
    gaps = (n * abs(a - c) for n, a, c in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True))
    return sum(gaps) / sum(bins["count"])


def confusion(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Return how often each class (rows) was taken for each class (columns), int64 `[C, C]`."""
    return torch.bincount(labels * num_classes + predictions, minlength=num_classes**2).reshape(num_classes, num_classes)


def _restore_modes(training: dict[nn.Module, bool]) -> None:
    for part, mode in training.items():
        part.training = mode
