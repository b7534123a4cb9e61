"""Which axis of each of a model's inputs counts the samples, found by running it on twice as many."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_leaves_with_path, tree_map_with_path

from torchsid.core.calling import Inputs

_TRIES = 32  # ways to double the inputs


@dataclass(frozen=True)
class Rows:
    """The samples among the inputs of a model; a tensor that is not listed has them first, if it has as many as the others."""

    axes: Mapping[str, int | None] = field(default_factory=dict)  # of every tensor, by its path; None: it has no samples

    def take(self, x: Inputs, rows: slice | Tensor) -> Inputs:
        """Return some samples of the inputs."""
        return self._changed(x, lambda tensor, axis: tensor[(slice(None),) * axis + (rows,)])

    def twice(self, x: Inputs) -> Inputs:
        """Return the inputs with every sample twice."""
        return self._changed(x, lambda tensor, axis: torch.cat([tensor, tensor], axis))

    def count(self, x: Inputs) -> int:
        """Return B, the number of samples; a ValueError where no tensor among the inputs has an axis of samples."""
        tensors = _tensors(x)
        for path, tensor in sorted(tensors, key=lambda each: each[0] not in self.axes):
            axis = self.axes.get(path, 0)
            if axis is not None and tensor.dim() > axis:
                return tensor.shape[axis]
        raise ValueError(f"no tensor among the inputs ({type(x).__name__}) says how many samples there are")

    def _changed(self, x: Inputs, change: Callable[[Tensor, int], Tensor]) -> Inputs:
        count = self.count(x)

        def changed(path: Any, value: object) -> object:
            axis = self.axes.get(keystr(path), 0)
            here = isinstance(value, Tensor) and axis is not None and value.shape[axis : axis + 1] == (count,)
            return change(value, axis) if here else value  # type: ignore[arg-type]

        found: Inputs = tree_map_with_path(changed, dict(x) if isinstance(x, Mapping) else x)
        return found


def find_rows(answers: Callable[[Inputs], int], x: Inputs, count: int) -> Rows | None:
    """Return the axes along which the inputs can be doubled so that a model gives twice as many answers; None: there are none.

    Inputs may have the batch first or second, and some may have none (a scalar, a table that all samples share). Packed sequences,
    offsets and lists of edges cannot be doubled so. `answers` runs the model, and returns how many samples it answered; of `x` it
    answers `count`.
    """
    tensors = list(_tensors(x))
    choices = [[*(axis for axis, size in enumerate(tensor.shape[:2]) if size == count), None] for _, tensor in tensors]
    for chosen in islice(product(*choices), _TRIES):
        rows = Rows({path: axis for (path, _), axis in zip(tensors, chosen, strict=True)})
        with suppress(Exception):  # inputs that do not fit each other: the model is the user's, and any error may come
            if set(chosen) != {None} and answers(rows.twice(x)) == 2 * count:
                return rows
    return None


def _tensors(x: Inputs) -> list[tuple[str, Tensor]]:
    leaves = tree_leaves_with_path(dict(x) if isinstance(x, Mapping) else x)
    return [(keystr(path), leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]
