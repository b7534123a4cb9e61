"""A few held-out samples with every stage's belief, chosen to show how beliefs move."""

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from torchsid.core.learner import Learner
from torchsid.tasks.domain import Samples
from torchsid.training.durable import os_errors, write_bytes
from torchsid.training.evaluation import predict, unbroken

SAMPLES = 12
_CANDIDATES = 2000  # looked through; more would only take longer


def write_samples(path: Path | None, learner: Learner, data: Samples, *, prepare: Callable[[Tensor], Tensor]) -> None:
    """Write `inputs` and `target` `[n, ...]`, `log_beliefs` `[L+1, n, ..., C]` and `indices` `[n]` within the split.

    Without a path nothing is written: of several workers one writes, and all are needed to predict.

    Raises:
        RunError: the operating system refuses.
    """
    log_beliefs = predict(learner, data.inputs[:_CANDIDATES], prepare=prepare)
    if path is None:
        return
    chosen = choose(log_beliefs, data.target[:_CANDIDATES], SAMPLES)
    tensors = {
        "inputs": data.inputs[chosen],
        "target": data.target[chosen],
        "log_beliefs": log_beliefs[:, chosen].contiguous(),
        "indices": chosen,
    }
    temporary = path.with_name(f".{path.name}.new")
    with os_errors(path):
        try:
            write_bytes(temporary, safetensors.torch.save(tensors))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def choose(log_beliefs: Tensor, target: Tensor, count: int) -> Tensor:
    """Return indices of up to `count` samples, int64 ascending: a third each decided early, decided late, and wrong.

    A stage decides when no later one changes the answer. Within a third the order of the data set counts, except that the latest
    decisions come first; a third that is short is filled up from the others.
    """
    answers = log_beliefs[1:].argmax(dim=-1).unsqueeze(-1).flatten(2)  # [L, N, positions]
    classes = target.argmax(-1) if target.is_floating_point() else target
    settled = unbroken((answers == answers[-1]).all(-1))  # [N]: for how many stages the answer has stood
    right = (answers[-1] == classes.reshape(len(classes), -1)).all(-1)
    late = settled < len(answers)
    by_lateness = settled.argsort(stable=True)
    thirds = [
        (right & ~late).nonzero().flatten(),
        by_lateness[(right & late)[by_lateness]],
        (~right).nonzero().flatten(),
    ]
    heads = [third[: count // 3] for third in thirds]
    rest = torch.cat([third[count // 3 :] for third in thirds])
    chosen = torch.cat([*heads, rest])[:count]
    return chosen.sort().values
