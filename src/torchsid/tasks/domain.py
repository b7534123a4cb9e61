"""What a domain tells the rest of the house, which never asks what a sample is."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchsid.core.beliefs import readable
from torchsid.core.cascade import Positions
from torchsid.core.weighting import counted
from torchsid.errors import DataError
from torchsid.tasks.packed_names import Names
from torchsid.tasks.stored import Draws, Stored

About = Mapping[str, Any]
"""What is known of a data set, as JSON can hold it; a run keeps it in its manifest, so that its network can be built without the
data. `num_classes` is there always, `class_names` where the outcomes have names, `bins` where they are bins of a number (see
`torchsid.tasks.numbers.Numbers`)."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Samples:
    """Samples of one part of a data set.

    Attributes:
        inputs: `[N, ...]`, as they are stored, in memory or where an index reads them (`inputs[:]` is in memory); `Task.prepare`
            makes of them what a network reads.
        target: integer outcomes `[N, ...]`, or probability rows `[N, ..., C]` (floating point), to train on; an outcome of -100
            counts nowhere.
        weight: a weight for every position of the target, `[N, ...]`, which is made 0 where the outcome is -100; None counts all
            alike.
        clean_target: the target before label noise was added; None where nobody knows.
        rows: int64 `[N]`, where each sample stands in the data set's own file, from 0; None where there is no such file.
        names: what people call each sample, such as its file below the data's folder, `printable`; None where there are none.
        group: int64 `[N]`, from 0, which part of the data each sample belongs to, such as a task of a sequence; the parts are
            evaluated one by one as well. None where there are none.
        value: the numbers that the targets stand for, float64 `[N, ...]`; None where outcomes are no bins of a number.
    """

    inputs: Tensor | Stored
    target: Tensor | Stored
    weight: Tensor | None = None
    clean_target: Tensor | None = None
    rows: Tensor | None = None
    names: Sequence[str] | None = None
    group: Tensor | None = None
    value: Tensor | None = None

    def __post_init__(self) -> None:
        if isinstance(self.target, Tensor) and len(self.target) and readable(self.target):
            object.__setattr__(self, "weight", counted(self.target, self.weight))

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: Tensor | slice) -> "Samples":
        """Return the samples at `index`, int64 `[n]` or a slice, with their inputs in memory."""
        return self._at(self.inputs[index], index)

    def subset(self, index: Tensor | slice) -> "Samples":
        """Return the samples at `index`, int64 `[n]` or a slice; inputs that are not in memory are not read."""
        return self._at(self.inputs.subset(index) if isinstance(self.inputs, Stored) else self.inputs[index], index)

    def sha256(self, key: str = "") -> str:
        """Return the SHA-256 of inputs and targets, or of what the inputs follow from, which rows they are and their targets."""
        digest = sha256((key or repr(tuple(self.inputs.shape))).encode())
        for tensor in (self.rows if key else self.inputs[:], self.target[:]):
            assert tensor is not None  # rows of files have numbers
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def _at(self, inputs: Tensor | Stored, index: Tensor | slice) -> "Samples":
        parts = (self.weight, self.clean_target, self.rows, self.group, self.value)
        weight, clean, rows, group, value = (None if part is None else part[index] for part in parts)
        names = self.names and Names.of(self.names)[index if isinstance(index, slice) else index.numpy()]
        return Samples(inputs, self.target[index], weight, clean, rows, names, group, value)


Believe = Callable[[Tensor], Tensor]
"""From stored inputs `[B, ...]` to the belief after every stage, log-probabilities `[L+1, B, ..., C]` on the CPU."""


class Collector(ABC):
    """Where samples come from that the network's own answers bring about, such as what an agent meets.

    The training samples of a data set that has one are always as many, and are renewed where they lie: `collect` is called at the
    start of each epoch and then every `every` steps, with the network as it stands, so that targets which follow from beliefs are
    those of an older copy until the next call. What it does follows from its state and its arguments alone, and a checkpoint holds
    that state and the samples, so that a run which resumes sees the same ones.
    """

    every: int
    """Training steps from one call of `collect` to the next."""

    @abstractmethod
    def collect(self, believe: Believe, rows: Tensor) -> Mapping[str, float]:
        """Renew the training samples, in place.

        Args:
            believe: the network.
            rows: the samples that the steps up to the next call learn from, int64 `[n]`; targets of others may stay as they were.

        Returns:
            What the record of the epoch shall say of them, by name; the last call's words count.
        """

    @abstractmethod
    def try_out(self, believe: Believe, part: str) -> tuple[Samples, Mapping[str, list[float]]]:
        """Return held-out samples that the network brings about now, and scores of every belief `[L+1]` by name.

        Args:
            believe: the network; its samples and scores follow from what it believes alone.
            part: `validation` or `test`.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold besides the samples; it is filled in place. Names have a colon."""
        return {}


@dataclass(frozen=True)
class Splits:
    """A data set, ready to train on.

    Attributes:
        train: what is trained on.
        validation: held out from it; may be empty.
        test: looked at once, after training; may be empty.
        about: see `About`.
        fingerprint: SHA-256 of every file read, and of the samples.
        skipped: what was left out and why, a sentence each.
        collector: renews the training samples, which are tensors, and brings about the held-out ones; of those there are none
            before. None where samples are what they are.
        scores: what was measured while held-out samples came about, by part and name, `[L+1]` each; see `Task.scores`.
    """

    train: Samples
    validation: Samples
    test: Samples
    about: About
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    collector: Collector | None = None
    scores: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    def of_worker(self, own: Callable[[int], Sequence[slice]], parts: Sequence[str] = PARTS) -> "Splits":
        """Return the same samples, with labels all, for a worker that reads its own rows of a batch alone.

        Args:
            own: from the number of rows of a batch to this worker's.
            parts: in which it does so.
        """
        found = {name: part for name in parts if isinstance((part := getattr(self, name)).inputs, Stored)}
        return replace(self, **{name: replace(part, inputs=part.inputs.of_worker(own)) for name, part in found.items()})


@dataclass(frozen=True)
class Floor:
    """What a simple rival without a network reaches on the same samples: a network that does no better has learnt little.

    Attributes:
        name: of the rival.
        about: what it was made of.
        scores: by split, and by the names that `torchsid.training.evaluation.evaluate` has: `kl`, `accuracy`, `mae`, `rmse`, `r2`.
    """

    name: str
    about: str
    scores: Mapping[str, Mapping[str, float]]

    def missed(self, split: str, reached: Mapping[str, float]) -> list[str]:
        """Return a sentence for each number in which a network does worse; `reached` are those of its last stage."""
        told = []
        for name, own in self.scores.get(split, {}).items():
            if name in reached and (reached[name] > own if name in ("kl", "mae", "rmse") else reached[name] < own):
                said = f"{name if name == 'accuracy' else 'R²' if name == 'r2' else name.upper()} {reached[name]:.4f} on {split}"
                told.append(f"{said} is worse than the {own:.4f} of the {self.name}")
        return told


class Task(ABC):
    """A domain. Its settings, the `[data]` section of a recipe, are the keyword-only parameters of its constructor."""

    positions: Positions = ()
    """Where a sample's beliefs are: one, `()`; M of them, `(M,)`; or one a token, `"tokens"`."""
    reads_files: bool = True
    """Whether `read` takes files; if not, what is named on the command line is the input itself, such as a text."""
    continues: bool = False
    """Whether an outcome is the token that follows, so that an input can be continued with it; then `write` is there."""
    collects: bool = False
    """Whether its samples come about by what the network answers, so that its data sets have a `Collector`."""
    memory_format: torch.memory_format = torch.contiguous_format
    """How batches and weights lie in memory."""
    phases: int = 1
    """Into how many parts of equal length the epochs of a training fall, each of which may see other samples; see `order`. The best
    epoch is one of the last part."""
    judged_by: str = "accuracy"
    """What of the last stage's validation chooses the best epoch and, in an experiment, a learning rate: `accuracy`, `kl`, or one
    of the scores, of which more is better."""

    @property
    def blends_samples(self) -> bool:
        """Whether a training batch mixes several samples into one, which methods that remember samples cannot follow."""
        return False

    @property
    def memory_bytes(self) -> int:
        """Up to how many bytes of training inputs are kept in memory; of more than that each batch is read."""
        return machine_memory() // 4

    @abstractmethod
    def load(self, seed: int) -> Splits:
        """Return the data set; the validation part depends on `seed`.

        Raises:
            DataError: the data are missing, damaged, or do not fit the settings.
        """

    def like(self, about: About) -> "Task":
        """Return the task whose `load` makes inputs as another data set's were made, so that a network of that one can read them.

        For a text it takes that one's vocabulary; nothing is changed by default.

        Raises:
            DataError: it cannot.
        """
        return self

    @abstractmethod
    def example(self, about: About) -> Tensor:
        """Return a batch of two samples as a network reads them, of which only shape and dtype count."""

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return stored inputs `[B, ...]` as a network reads them."""
        return inputs

    def epoch_size(self, samples: Samples) -> int:
        """Return how many training samples an epoch takes, in every phase: all of them by default."""
        return len(samples)

    def order(self, samples: Samples, phase: int, generator: torch.Generator) -> Tensor:
        """Return which training samples an epoch takes, one after the other: int64 `[epoch_size]`, all of them once by default.

        Args:
            samples: the training samples.
            phase: the part of the training that the epoch belongs to, from 0.
            generator: a CPU generator, the only source of random numbers.
        """
        inputs = samples.inputs
        return inputs.order(generator) if isinstance(inputs, Stored) else torch.randperm(len(inputs), generator=generator)

    def draw(self, count: int, about: About, generator: torch.Generator) -> Draws:
        """Return the random numbers that `training_batch` needs, nothing by default.

        Args:
            count: B, the samples of the batch.
            about: the data set.
            generator: a CPU generator, the only source of random numbers. A task that cannot say beforehand what it will need draws
                the seed of a generator of its own.

        Returns:
            CPU tensors by name, whose names, shapes and types follow from `count` and `about` alone.
        """
        return {}

    def training_batch(self, samples: Samples, about: About, draws: Draws) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return inputs, target and weight of a training batch, which may be augmented.

        It runs where the samples are, on a GPU as on the CPU: tensor operations that neither read a value nor make a tensor of a
        list wait for no device and can be captured as a CUDA graph; others work, and are slower.

        Args:
            samples: the batch; none of `clean_target`, `rows`, `names` and `value` are given.
            about: the data set.
            draws: of `draw`, on the same device as the samples.
        """
        return self.prepare(samples.inputs[:], about), samples.target[:], samples.weight

    def show(self, inputs: Tensor, about: About) -> str:
        """Return one stored input `[...]` as a fragment of HTML."""
        return f"<code>{escape(str(inputs.tolist()))}</code>"

    def scores(self, kl: Sequence[float], split: str, about: About) -> Mapping[str, list[float]]:
        """Return what the domain makes of the mean divergence of every belief, `[L+1]` in nats a position, by name.

        Args:
            kl: of samples with one-hot targets the negative log-likelihood.
            split: `train`, `validation` or `test`.
            about: the data set.
        """
        return {}

    def floor(self, splits: Splits) -> Floor | None:
        """Return what a simple rival without a network reaches on the held-out parts; None where there is none to compare with."""
        return None

    def readable(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Return the files that `read` takes below a folder, in order, and a sentence for each kind that is left out.

        Raises:
            DataError: the domain has no files.
        """
        raise DataError(f"{type(self).__name__} reads no folder of files, as {str(folder)!r} is one")

    def read(self, name: str, about: About) -> Tensor:
        """Return inputs as they are stored, `[n, ...]`, from what a user names on the command line: most often one, such as a file.

        Raises:
            DataError: it cannot be read, or does not fit.
        """
        raise DataError(f"{type(self).__name__} cannot read {name!r}: it has no samples outside its data set")

    def write(self, tokens: Tensor, about: About) -> str:
        """Return tokens `[t]` as a user reads them, in a domain that `continues`: what `read` makes tokens of."""
        raise NotImplementedError(f"{type(self).__name__} continues nothing")


def machine_memory() -> int:
    """Return the bytes of memory that this machine has, or its container may use."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # no control groups, or "max"
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)


def generator_at(purpose: str, *position: int) -> torch.Generator:
    """Return a CPU generator that depends on nothing but its arguments, such as a seed, an epoch and a step.

    So a run that resumes at a position sees the numbers that it would have seen anyway. The seed is the head of SHA-256 over the
    arguments, so neighbouring positions and different purposes share nothing, as they would with `seed + epoch`.
    """
    text = "/".join([purpose, *(str(number) for number in position)])
    seed = int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
    return torch.Generator().manual_seed(seed)
