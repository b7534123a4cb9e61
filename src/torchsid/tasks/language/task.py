"""What comes next, at every position of a text."""

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from html import escape
from math import exp, log
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from torchsid.errors import DataError, printable
from torchsid.settings import Count, Share, path_of
from torchsid.tasks.domain import PARTS, About, Floor, Samples, Splits, Task
from torchsid.tasks.language.bins import of_tokens
from torchsid.tasks.language.corpus import Corpus, Part
from torchsid.tasks.language.encoded import of_text
from torchsid.tasks.language.ngram import n_gram
from torchsid.tasks.language.windows import Windows
from torchsid.tasks.stored import Draws, Stored
from torchsid.tasks.vocabulary import FromFile, Ids, Numbers, Vocabulary, kind_of, remembered, taken_over

_IGNORED = -100
_COUNTED = 2**22  # tokens of a part, the last of training, from which and by which an n-gram is made
_WITHOUT = 20  # the last of so many parts of training chooses its order, where there is no validation part
_MANY = 1000  # outcomes; of more, no names are kept


@dataclass(frozen=True, kw_only=True)
class Language(Task):
    """Windows of tokens `[N, T]`; at every position the target is the next token.

    Training reads windows from random tokens on; held-out parts are read completely, in adjacent windows.
    """

    path: str = ""
    """A text file in UTF-8, or a folder with nanoGPT's `train.bin` and `val.bin`."""
    name: Literal["", "romeo-and-juliet"] = ""
    """A text of the package, without a path: the first three quarters of W. Shakespeare's play, in the public
    domain, as A. Karpathy's Tiny Shakespeare has them."""
    tokens: str = "characters"
    """What a text is cut into: its `characters`, its `bytes`, pieces of words that byte-pair encoding finds in the training part
    (`bpe`), or those of a `tokenizer.json`, by its path."""
    vocabulary: Annotated[int, Ge(2)] = 4096
    """V, for `bpe` and for `.bin` files."""
    context: Count = 128
    """T, the tokens of a window."""
    validation: Share = 0.05
    """Share of the text held out for validation, before the test part."""
    test: Share = 0.1
    """Share of the text, at its end, for testing after training; `.bin` files have their own."""
    cache: str = ""
    """Folder for encoded texts; empty is `$XDG_CACHE_HOME/torchsid` or `~/.cache/torchsid`."""

    known: Vocabulary | None = field(default=None, init=False, repr=False)
    """That of another data set, instead of one from the training part; see `like`."""

    positions = "tokens"
    reads_files = False
    continues = True
    judged_by = "kl"

    def __post_init__(self) -> None:
        assert self._kind  # or it is a ValueError

    @property
    def _kind(self) -> str:
        return kind_of(self.tokens, ("characters", "bytes", "bpe"))

    def like(self, about: About) -> "Language":
        """Return the task with the vocabulary of another text; see `Task.like`."""
        task = copy(self)
        is_text = not self._place.is_dir()
        if is_text or about["tokens"] != "given":
            object.__setattr__(task, "known", taken_over(about, self._kind if is_text else "given"))
        return task

    def load(self, seed: int) -> Splits:
        """Return the parts of the text, the same for every seed."""
        found, length = self._corpus(), self.context
        there = {name: part.count for name, part in found.parts.items() if part.count or name == "train"}
        if short := [f"{name} has {count}" for name, count in there.items() if count < 2 * length]:
            needed = f"data.context = {length} needs {2 * length} tokens in every part"
            raise DataError(f"{printable(str(self._place))}: {needed}, but {'; '.join(short)}: lower it")
        train = found.parts["train"]
        rows = torch.arange(train.count // length - 1)
        inputs, target = Stored(Windows(train, length + 1, length), rows), Stored(Windows(train, length, length, first=1), rows)
        vocabulary = found.vocabulary
        about: dict[str, Any] = {
            "name": printable(self._place.name),
            "num_classes": vocabulary.size,
            "context": length,
            "tokens": "given" if isinstance(vocabulary, Numbers) else self._kind,
            "tokens_per": {name: part.tokens_per() for name, part in found.parts.items()},
            **vocabulary.about(),
        }
        if vocabulary.size <= _MANY:
            about["class_names"] = [repr(vocabulary.decode(np.array([i])))[1:-1] for i in range(vocabulary.size)]
        counts = [part.count for part in found.parts.values()]
        stated = (found.files, found.sha256, about["tokens"], vocabulary.size, length, counts)
        digest = hashlib.sha256(repr(stated).encode()).hexdigest()
        return Splits(
            train=Samples(inputs, target),
            validation=_whole(found.parts["validation"], length),
            test=_whole(found.parts["test"], length),
            about=about,
            fingerprint={**found.files, **{f"arrays/{name}": digest for name in PARTS}},
        )

    def example(self, about: About) -> Tensor:
        """Return two windows of the first token."""
        return torch.zeros(2, about["context"], dtype=torch.int64)

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return the tokens that a network reads, int64 `[B, T]`."""
        return inputs[:, : about["context"]].to(torch.int64)

    def draw(self, count: int, about: About, generator: torch.Generator) -> Draws:
        """Return `offset`, int64 `[B]`: how many tokens later than usual each window begins."""
        return {"offset": torch.randint(about["context"], (count,), generator=generator)}

    def training_batch(self, samples: Samples, about: About, draws: Draws) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return windows and what follows each of their tokens, int64 `[B, T]`.

        The target is not taken out of the inputs, though it is there, since of several workers one alone reads those.
        """
        return self.prepare(samples.inputs[:], about), samples.target[:].to(torch.int64), None

    def scores(self, kl: Sequence[float], split: str, about: About) -> Mapping[str, list[float]]:
        """Return the perplexity, `exp(nats a token)`, and of a text the nats a character and the bits a byte of its UTF-8."""
        tokens = about["tokens_per"].get(split, {})
        names = {"characters": ("nats a character", 1.0), "bytes": ("bits a byte", 1 / log(2))}
        found = {names[unit][0]: [nats * ratio * names[unit][1] for nats in kl] for unit, ratio in tokens.items()}
        return {"perplexity": [exp(nats) for nats in kl], **found}

    def floor(self, splits: Splits) -> Floor:
        """Return the loss of an n-gram, whose order the validation part chooses, or the end of the training part without one."""
        whole = splits.train.target
        train = whole[max(0, len(whole) - _COUNTED // splits.about["context"]) :].flatten().to(torch.int64).numpy()
        parts = {name: _tokens(part)[:_COUNTED] for name in ("validation", "test") if len(part := getattr(splits, name))}
        if "validation" not in parts:
            held_out = max(2, len(train) // _WITHOUT)
            train, parts = train[:-held_out], {"train": train[-held_out:], **parts}
        order, losses = n_gram(train, parts, splits.about["num_classes"])
        about = f"counts of {len(train):,} of {whole.shape.numel():,} training tokens, interpolated"
        return Floor(f"{order}-gram", about, {name: {"kl": loss} for name, loss in losses.items() if name != "train"})

    def show(self, inputs: Tensor, about: About) -> str:
        """Return the text of a window; of given tokens their numbers."""
        return f"<code>{escape(self.write(inputs, about))}</code>"

    def read(self, name: str, about: About) -> Tensor:
        """Return the tokens of a text, int64 `[1, t]`, which may be more than a window has."""
        ids = remembered(about).encode(name)
        if not len(ids):
            raise DataError("an empty text cannot be continued: give some words, in quotes")
        return torch.from_numpy(ids)[None]

    def write(self, tokens: Tensor, about: About) -> str:
        """Return the text of tokens, `[t]`; of given tokens their numbers."""
        return remembered(about).decode(tokens.to(torch.int64).numpy())

    @property
    def _place(self) -> Path:
        return path_of(self.path) if self.path or not self.name else Path(__file__).with_name(f"{self.name}.txt")

    def _corpus(self) -> Corpus:
        if not self.path and not self.name:
            raise DataError(
                "a language model is trained on a text: set data.path to a file, or to a folder with train.bin and val.bin"
            )
        path = self._place
        if path.is_dir():
            return of_tokens(path, self.cache, size=self.vocabulary, validation=self.validation)
        shares = (self.validation, self.test)
        if sum(shares) >= 1:
            raise DataError(f"data.validation = {shares[0]} and data.test = {shares[1]} leave nothing to learn from: lower them")
        given = self.known or (FromFile.read(self.tokens, special=False) if self._kind == "file" else None)
        return of_text(path, self.cache, tokens=self._kind, size=self.vocabulary, shares=shares, given=given)


def _whole(part: Part, length: int) -> Samples:
    """Return windows that touch, in which all tokens but the first are targets; the last is filled up with what counts nowhere."""
    ids = part.read(torch.tensor([0]), part.count)[0].to(torch.int64)
    count = max(0, -(-(len(ids) - 1) // length))
    inputs, target = ids.new_zeros(count * length), ids.new_full((count * length,), _IGNORED)
    if count:
        inputs[: len(ids) - 1], target[: len(ids) - 1] = ids[:-1], ids[1:]
    return Samples(inputs.view(count, length), target.view(count, length))


def _tokens(samples: Samples) -> Ids:
    """Return the tokens of a held-out part, int64 `[n]`."""
    target = samples.target[:]
    return torch.cat([samples.inputs[0][:1], target[target != _IGNORED]]).to(torch.int64).numpy()
