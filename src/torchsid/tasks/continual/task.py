"""A sequence of tasks: images whose classes come a few at a time, and later epochs never see the earlier ones again."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from torchsid.core.cascade import Positions
from torchsid.errors import DataError
from torchsid.settings import Count, CountOrZero
from torchsid.tasks.domain import PARTS, Samples, Splits
from torchsid.tasks.images.task import Images

_IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Continual(Images):
    """The classes of an image data set, divided among T tasks in order; the epochs of a run are divided among them too.

    | scenario | the network knows | outcomes |
    | --- | --- | --- |
    | `task` | the task of each image, in tests too | a belief at each of T positions, over the classes of that task |
    | `domain` | nothing | which class of its task, without knowing the task |
    | `class` | nothing | all classes |

    These are the three of G. van de Ven and A. Tolias (arXiv 1904.07734). The network has all its outputs from the start.

    Raises:
        ValueError: settings exclude each other.
    """

    tasks: Count = 5
    """T, the number of tasks: with ten classes and five tasks the first has classes 0 and 1."""
    scenario: Literal["task", "domain", "class"] = "class"
    """The question: which class of a known task (`task`), which class of an unknown one (`domain`), or which of all (`class`)."""
    replay: CountOrZero = 0
    """Training images of earlier tasks to keep in all, the first of each; they make up half of each epoch. 0 keeps none."""
    cumulative: bool = False
    """Whether to train each task together with all earlier ones: the bound for all methods."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.replay and self.cumulative:
            problems.append(f"replay = {self.replay} keeps some images, and cumulative = true all: leave one of them out")
        if 0 < self.replay < self.tasks - 1:
            problems.append(
                f"replay = {self.replay} is less than an image of each of {self.tasks - 1} tasks: raise it, or set it to 0"
            )
        if self.blends_samples and self.scenario == "task":
            problems.append("augment.mixup and augment.cutmix blend images of several tasks, which scenario = 'task' tells apart")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def phases(self) -> int:  # type: ignore[override]
        """T."""
        return self.tasks

    @property
    def positions(self) -> Positions:  # type: ignore[override]
        """One a task, where that is told."""
        return (self.tasks,) if self.scenario == "task" else ()

    def load(self, seed: int) -> Splits:
        """Return the data set with the tasks of its samples as groups; held-out parts have all tasks."""
        loaded = super().load(seed)
        names = loaded.about["class_names"]
        per_task = self._classes_per_task(len(names))
        parts = {name: self._part(getattr(loaded, name), per_task) for name in PARTS}
        for name, part in parts.items():
            assert part.group is not None
            counts = part.group.bincount(minlength=self.tasks)
            if len(part) and not bool(counts.all()):
                missing = ", ".join(str(task + 1) for task in (counts == 0).nonzero().flatten().tolist())
                advice = "lower data.tasks, or raise data.limit and data.validation"
                raise DataError(f"no {name} images of task {missing} of {self.tasks} in {self.name}: {advice}")
        groups = [names[task * per_task : (task + 1) * per_task] for task in range(self.tasks)]
        about: dict[str, Any] = {
            **loaded.about,
            "scenario": self.scenario,
            "groups": [", ".join(group) for group in groups],
            "remembered_bytes": self.replay * parts["train"].inputs[:1].nbytes,
        }
        if self.scenario != "class":
            numbers = [f"class {place + 1} of a task" for place in range(per_task)]
            about |= {"num_classes": per_task, "class_names": numbers}
        train, validation, test = parts.values()
        return replace(loaded, train=train, validation=validation, test=test, about=about)

    def epoch_size(self, samples: Samples) -> int:
        """Return the mean number of samples of a task, which every epoch takes: the same number of steps whatever is kept."""
        return max(1, len(samples) // self.tasks)

    def order(self, samples: Samples, phase: int, generator: torch.Generator) -> Tensor:
        """Return samples of the task that a phase is about; with `replay` half of them are of those that were kept."""
        task, size = samples.group, self.epoch_size(samples)
        assert task is not None
        new = (task <= phase if self.cumulative else task == phase).nonzero().flatten()
        if not (self.replay and phase):
            return _drawn(new, size, generator)
        kept = torch.cat([(task == earlier).nonzero().flatten()[: self.replay // phase] for earlier in range(phase)])
        both = torch.cat([_drawn(kept, size // 2, generator), _drawn(new, size - size // 2, generator)])
        return both[torch.randperm(size, generator=generator)]

    def _classes_per_task(self, classes: int) -> int:
        if self.tasks > classes or classes % self.tasks:
            allowed = ", ".join(str(each) for each in range(1, classes + 1) if classes % each == 0 and classes // each > 1)
            raise DataError(f"data.tasks = {self.tasks} does not divide the {classes} classes of {self.name}: set it to {allowed}")
        if classes == self.tasks and self.scenario != "class":
            why = f"leaves one class to each task, and data.scenario = {self.scenario!r} asks which of them it is"
            raise DataError(f"data.tasks = {self.tasks} {why}: lower it, or set data.scenario = 'class'")
        return classes // self.tasks

    def _part(self, samples: Samples, per_task: int) -> Samples:
        """Return samples with their tasks as groups, and with targets as the scenario has them."""
        label = samples.target[:]
        task = (label if samples.clean_target is None else samples.clean_target) // per_task
        target, clean = (None if each is None else self._target(each, task, per_task) for each in (label, samples.clean_target))
        assert target is not None
        return Samples(samples.inputs, target, None, clean, samples.rows, samples.names, task)

    def _target(self, label: Tensor, task: Tensor, per_task: int) -> Tensor:
        if self.scenario == "class":
            return label
        within = label % per_task
        if self.scenario == "domain":
            return within
        target = torch.full((len(label), self.tasks), _IGNORED)
        return target.scatter_(1, task.unsqueeze(1), within.unsqueeze(1))


def _drawn(pool: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return so many of a pool in random order, each as often as the others, or once more."""
    rounds = -(-size // len(pool))
    return torch.cat([pool[torch.randperm(len(pool), generator=generator)] for _ in range(rounds)])[:size]
