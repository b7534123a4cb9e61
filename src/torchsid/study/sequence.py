"""What a training in phases leaves of earlier ones: the accuracy on each group of samples at the end of each phase."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchsid.study.runs import RunRecord


def accuracy_matrix(run: RunRecord) -> NDArray[np.float64] | None:
    """Return the last stage's accuracy on group j of the validation samples after phase k, `[k, j]`, phases that have ended.

    None of a run of one phase, or whose samples have no groups.
    """
    if (phases := run.manifest.get("phases") or 1) == 1:
        return None
    epochs = run.config["training"]["epochs"]
    found = {event["epoch"]: list(((event.get("validation") or {}).get("groups") or {}).values()) for event in run.epochs}
    rows = [row for phase in range(1, phases + 1) if (row := found.get(phase * epochs // phases))]
    return np.array(rows) if rows else None


def forgetting(run: RunRecord) -> float | None:
    """Return the mean over all groups but the last of `max_k a_kj − a_Kj`, of the phases k ≥ j that have taught group j.

    Source: A. Chaudhry et al., arXiv 1801.10112.
    """
    matrix = accuracy_matrix(run)
    if matrix is None or not 1 < len(matrix) <= matrix.shape[1]:
        return None
    return float(np.mean([matrix[j:, j].max() - matrix[-1, j] for j in range(len(matrix) - 1)]))


def mean_over_groups(run: RunRecord) -> float | None:
    """Return the mean over the groups of the last weights' accuracy on held-out samples, each group counting alike."""
    scores = run.held_out("last")
    return float(np.mean(scores.groups)) if scores and scores.groups else None


def groups_of(run: RunRecord, count: int) -> Sequence[str]:
    """Return the names of `count` groups: their numbers, from 1, where the data set has none."""
    names = run.manifest["data"].get("groups") or []
    return [str(name) for name in names] if len(names) == count else [str(number) for number in range(1, count + 1)]
