"""Every sample judged by a network that did not see it: as many trainings as folds, each of which leaves one fold out.

A fold's training is a run like any other: it goes on where it was interrupted, and one that has finished is not repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from torchsid.errors import ConfigError, RunError
from torchsid.tasks import Samples, Splits, stored
from torchsid.tasks.domain import generator_at
from torchsid.training.config import RunConfig
from torchsid.training.evaluation import split
from torchsid.training.loop import train
from torchsid.training.reporter import Reporter
from torchsid.training.run import open_run
from torchsid.training.setup import build_task
from torchsid.training.start import of_start


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several parts one after another; what some part lacks is left out."""

    def join(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        return None if any(each is None for each in tensors) else torch.cat(tensors)

    inputs, target = stored.joined([part.inputs for part in parts]), torch.cat([part.target[:] for part in parts])
    names = tuple(name for part in parts for name in part.names or ()) if all(part.names for part in parts) else None
    return Samples(inputs, target, join("weight"), join("clean_target"), join("rows"), names, join("group"))


def fold_of(samples: Samples, folds: int, seed: int) -> Tensor:
    """Return the fold of each sample, from 0, int64 `[N]`: of equal size, with the same share of every class.

    Copies of an input are all in one fold, whatever their labels, so that no network has seen what it judges.

    Raises:
        ConfigError: a fold would be empty, or fewer than two are asked for.
    """
    copies: dict[bytes, list[int]] = {}
    for index, each in enumerate(chain.from_iterable(split(samples.inputs, 500))):
        copies.setdefault(sha256(each.contiguous().numpy().data).digest(), []).append(index)
    groups = list(copies.values())
    if not 2 <= folds <= len(groups):
        raise ConfigError([f"--folds {folds}: allowed are 2 to {len(groups)}, the number of different samples"], source="command")
    order = torch.randperm(len(groups), generator=generator_at("folds", seed)).tolist()
    if samples.target[:1].dim() == 1 and not samples.target[:1].is_floating_point():
        order.sort(key=lambda group: int(samples.target[groups[group][0]]))  # class by class, in which the lot decides
    found = torch.empty(len(samples), dtype=torch.int64)
    for place, group in enumerate(order):
        found[groups[group]] = place % folds
    return found


def train_folds(
    config: RunConfig, folds: Tensor, out: Path, *, reporter: Reporter, say: Callable[[str], None], command: str
) -> Mapping[int, Path]:
    """Train a network without each of the folds, on all other samples, and return their runs.

    Args:
        config: of the run whose labels are in doubt; without validation, so that all epochs are trained.
        folds: of `fold_of`, for its samples of training, validation and test one after another.
        out: where the runs go, or are.
        reporter: hears of progress.
        say: is told which training begins.
        command: what the user typed.

    Raises:
        RunError: a finished run was made of other data.
        Interrupted: a signal came; the same call goes on.
    """
    config = replace(config, training=replace(config.training, patience=0))
    task, start, count = build_task(config), of_start(config), int(folds.max()) + 1
    splits = (task.like(start.about) if start else task).load(config.training.seed)
    runs = {}
    for fold in range(count):
        runs[fold] = out / f"fold-{fold + 1}"
        divide = without(folds == fold, f"{fold + 1} of {count}")
        if not finished(runs[fold]):
            say(f"without fold {fold + 1} of {count}: {runs[fold]}")
            train(config, runs[fold], resume=True, reporter=reporter, command=command, divide=divide)
        if open_run(runs[fold]).manifest()["data"]["fingerprint"] != divide(splits).fingerprint:
            raise RunError(f"{runs[fold]} was trained on other data than there are now: remove {out}, and begin again")
    return runs


def finished(run: Path) -> bool:
    """Return whether there is a run in a directory that has finished."""
    return (run / "manifest.json").is_file() and open_run(run).manifest()["status"] == "finished"


def without(fold: Tensor, name: str) -> Callable[[Splits], Splits]:
    """Return what makes of a data set one whose test samples are those where `fold` (bool `[N]`) is true, and the others train."""

    def divide(splits: Splits) -> Splits:
        pool = joined([splits.train, splits.validation, splits.test])
        kept, held_out = pool.subset((~fold).nonzero().flatten()), pool.subset(fold.nonzero().flatten())
        marked = {**splits.fingerprint, "fold": f"{name}, {sha256(fold.numpy().data).hexdigest()}"}
        return replace(splits, train=kept, validation=pool.subset(slice(0)), test=held_out, fingerprint=marked)

    return divide
