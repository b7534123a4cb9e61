"""Images with a text beside each, every pair of one class."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from html import escape
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from torchsid.errors import DataError, bullets, did_you_mean, printable
from torchsid.settings import Count, CountOrZero, Share, path_of
from torchsid.tasks.domain import PARTS, About, Floor, Samples, Splits, Task, generator_at
from torchsid.tasks.images.lists import rows_of
from torchsid.tasks.images.task import Images
from torchsid.tasks.pair.questions import QUESTIONS
from torchsid.tasks.stored import Draws

_UNKNOWN = "[UNK]"
_NAMED = 10  # rows in a message
_Parts = tuple[dict[str, Samples], Mapping[str, Sequence[str]], list[str]]


class _Pictures(Images):
    """Images whose table has a column more."""

    read_elsewhere = ("text",)


@dataclass(frozen=True, kw_only=True)
class Pair(Task):
    """Pairs in rows `[N, P + T]`, int16: pixels of a square image, then T tokens of a text, filled up with 0; each of one class.

    A token is a word or a mark: 1 if unknown, else 2 and up. A missing image is black, a missing text has no token.

    The digits of `digits` or `mnist` get a sentence in which only a number word matters. In every part each pair of digit and
    number is equally frequent, for which some images are left out, so what one sense alone can know is exact. The seed decides
    which training image has which sentence; test pairs are fixed.
    """

    name: Literal["digits", "mnist", "folder"] = "digits"
    """Handwritten digits, of the package or of MNIST, with generated sentences; or `folder`: your own images and texts."""
    path: str = ""
    """Folder of the files; not needed for `digits`."""
    files: str = ""
    """For `folder`: a CSV file in it with the columns `path`, `text`, `label` and optionally `split`."""
    question: Literal["synergy", "mixed"] = "synergy"
    """For generated sentences: `synergy` asks for (digit + number) mod 10, `mixed` whether the digit is greater than the number."""
    sentences: Count = 1
    """Number of training pairs of an image, each with another number; validation and test images are in one."""
    missing: Literal["none", "image", "text"] = "none"
    """What every test pair lacks."""
    drop: Share = 0.0
    """Share of the training pairs that lose image or text, with equal chance; drawn again for every batch."""
    validation: Share = 0.1
    """Share of the training part that is held out, if the data have no validation part."""
    limit: CountOrZero = 0
    """Use only the first `limit` training images, the same share of every class; 0 uses all."""
    size: CountOrZero = 0
    """For `folder`: side in pixels that every image gets."""
    length: Count = 16
    """T, the words of a text that are read."""
    vocabulary: Annotated[int, Ge(2), Le(2**15 - 2)] = 8192
    """Largest number of words; those that occur once in the training texts are unknown."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """An image that cannot be read, or one without a text: stop, or leave it out and say so."""
    cache: str = ""
    """Folder for decoded images, as for the task `images`."""

    known: Sequence[str] = field(default=(), init=False, repr=False)
    """The words of another data set, instead of those of the training part; see `like`."""

    reads_files = False

    def __post_init__(self) -> None:
        if bool(self.files) != (self.name == "folder"):
            what = "name = 'folder' needs a CSV file, and no other name has one"
            raise ValueError(f"files = {self.files!r} with name = {self.name!r}: {what}")

    @property
    def _images(self) -> Images:
        shared = ("name", "path", "files", "validation", "limit", "size", "on_bad_sample", "cache")
        return _Pictures(**{name: getattr(self, name) for name in shared})

    def like(self, about: About) -> "Pair":
        """Return the task with the words of another data set; see `Task.like`."""
        if "words" not in about:
            raise DataError("the other data set has no texts beside its images: name a run of the task pair")
        task = copy(self)
        object.__setattr__(task, "known", tuple(about["words"]))
        return task

    def load(self, seed: int) -> Splits:
        """Read the images, write or read what stands beside them, and find the words of the training part."""
        images = self._images.load(seed)
        parts, texts, notes = self._own(images) if self.name == "folder" else self._generated(images, seed)
        words = self.known or self._words(texts["train"])
        if not words:
            raise DataError("no word stands in the training texts twice, so that all would be unknown: give more texts")
        for part, own in texts.items():
            if longer := sum(len(_tokens(text)) > self.length for text in own):
                what = f"{longer} of {len(own)} texts have more than data.length = {self.length} words"
                notes.append(f"{part}: {what}, and what is beyond is not read")
        made = {
            part: replace(each, inputs=self._rows(each.inputs[:], texts[part], words, self.length), clean_target=None)
            for part, each in parts.items()
        }
        asked = "" if self.name == "folder" else self.question
        about = dict(images.about) | {"length": self.length, "vocabulary": len(words) + 1, "words": list(words)}
        about |= {"question": asked, "missing": self.missing}
        if asked:
            names = QUESTIONS[asked].class_names
            about |= {"class_names": list(names), "num_classes": len(names)}
        if self.missing != "none":
            whole = made["test"].inputs[:]
            lost = _of_image(about, whole) == (self.missing == "image")
            made["test"] = replace(made["test"], inputs=whole.masked_fill(lost, 0))
        fingerprint = {name: sha256 for name, sha256 in images.fingerprint.items() if not name.startswith("arrays/")}
        fingerprint |= {f"arrays/{part}": samples.sha256() for part, samples in made.items()}
        train, validation, test = map(made.__getitem__, PARTS)
        return Splits(train, validation, test, about, fingerprint, (*images.skipped, *notes))

    def example(self, about: About) -> Tensor:
        """Return two rows of zeros in place of pixels and ones in place of counts, float32."""
        return torch.cat([torch.zeros(2, _pixels(about)), torch.ones(2, about["vocabulary"])], 1)

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return rows of normalised pixels, and of how often each of V words stands in the text, float32 `[B, P + V]`."""
        pixels = self._images.prepare(_image(inputs, about).to(torch.uint8), about).flatten(1)
        tokens = inputs[:, _pixels(about) :].long()
        counts = pixels.new_zeros(len(inputs), about["vocabulary"] + 1).scatter_add_(1, tokens, torch.ones_like(tokens).float())
        return torch.cat([pixels, counts[:, 1:]], 1)  # no token is no word

    def draw(self, count: int, about: About, generator: torch.Generator) -> Draws:
        """Return a number a pair, which decides whether it loses something."""
        return {"lost": torch.rand(count, generator=generator)} if self.drop else {}

    def training_batch(self, samples: Samples, about: About, draws: Draws) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the pairs of a training batch, some of which have lost image or text."""
        inputs = samples.inputs[:]
        if draws:
            lost, half = draws["lost"].unsqueeze(1), self.drop / 2
            inputs = inputs.masked_fill(torch.where(_of_image(about, inputs), lost < half, lost >= 1 - half), 0)
        return self.prepare(inputs, about), samples.target[:], samples.weight

    def floor(self, splits: Splits) -> Floor | None:
        """Return what is to be had from image or text alone, of generated sentences."""
        asked, missing = splits.about["question"], splits.about["missing"]
        if not asked:
            return None
        alone = QUESTIONS[asked].alone()
        better = max(alone.values(), key=lambda scores: scores["accuracy"])
        left = {"none": better, "image": alone["text"], "text": alone["image"]}[missing]
        said = ", ".join(f"{100 * scores['accuracy']:.1f} % from the {sense} alone" for sense, scores in alone.items())
        name = "better sense alone" if missing == "none" else "other sense alone"
        return Floor(name, f"the best answers, read without error: {said}", {"train": better, "validation": better, "test": left})

    def show(self, inputs: Tensor, about: About) -> str:
        """Return image and text, as far as it is read."""
        pixels, tokens = _image(inputs[None], about)[0].to(torch.uint8), inputs[_pixels(about) :]
        words = [_UNKNOWN, *about["words"]]
        text = " ".join(words[token - 1] for token in tokens.tolist() if token)
        image = self._images.show(pixels, about) if pixels.any() else "(no image)"
        return f"{image}<br><code>{escape(text) or '(no text)'}</code>"

    def read(self, name: str, about: About) -> Tensor:
        """Return `IMAGE | TEXT` as it is stored, int16 `[1, P + T]`; one of the two may be left out."""
        file, bar, text = (part.strip() for part in name.partition("|"))
        if not bar or not (file or text):
            raise DataError(f"{name!r}: give an image and its text, 'IMAGE | TEXT', in quotes; one of the two may be left out")
        shape = (1, about["channels"], about["image_size"], about["image_size"])
        pixels = self._images.read(file, about) if file else torch.zeros(shape, dtype=torch.uint8)
        return self._rows(pixels, [text], about["words"], about["length"])

    def _generated(self, images: Splits, seed: int) -> _Parts:
        """Return the digits that are used, with their answers, and their sentences."""
        question = QUESTIONS[self.question]
        parts, texts = dict[str, Samples](), dict[str, Sequence[str]]()
        for part in PARTS:
            own = getattr(images, part)
            generator = generator_at(f"pair/{self.question}/{part}", 0 if part == "test" else seed)
            sentences = self.sentences if part == "train" else 1
            index, answers, texts[part] = question.compose(own.target[:], sentences, generator)
            parts[part] = replace(own.subset(index), target=answers, clean_target=None)
        return parts, texts, []

    def _own(self, images: Splits) -> _Parts:
        """Return the images that have a text, the texts, and a sentence for each that has none; or stop at those."""
        written = self._written()
        parts: dict[str, Samples] = {part: getattr(images, part) for part in PARTS}
        texts = {part: [written.get(name, "") for name in own.names or ()] for part, own in parts.items()}
        if not any(map(_tokens, texts["train"])):
            what = f"no training image of {printable(self.files)} has a text, and what is always missing says nothing"
            raise DataError(f"{what}: fill the column 'text', or take task = 'images'")
        alone: list[str] = []
        for part, own in texts.items():
            there = [bool(_tokens(text)) for text in own]
            alone += [name for name, has in zip(parts[part].names or (), there, strict=True) if not has]
            parts[part] = parts[part].subset(torch.tensor(there, dtype=torch.bool).nonzero().flatten())
        if alone and self.on_bad_sample == "error":
            advice = "fill the column 'text', or set data.on_bad_sample = 'skip' to leave them out"
            raise DataError(f"{len(alone)} images have no text; {advice}:{bullets(alone[:_NAMED], len(alone))}")
        notes = [f"{name}: it has no text" for name in alone[:_NAMED]] + [f"and {len(alone) - _NAMED} more"] * (len(alone) > _NAMED)
        return parts, {part: list(filter(_tokens, own)) for part, own in texts.items()}, notes

    def _written(self) -> dict[str, str]:
        """Return the text of every image of the table, by its name below the folder."""
        root = path_of(self.path)
        columns, rows = rows_of(root / self.files)
        if "text" not in columns:
            near = did_you_mean("text", columns)
            raise DataError(f"{printable(self.files)} (data.files) has no column 'text'{near}; it has {', '.join(columns)}")

        def below(name: str) -> str:
            name = name if (root / name).is_file() else name.replace("\\", "/")
            return printable(os.path.relpath(root / name, root))

        return {below(row["path"]): row["text"] for row in rows if row["path"]}

    def _words(self, texts: Iterable[str]) -> list[str]:
        """Return the commonest words of the training texts that stand there twice, in alphabetical order."""
        counts = Counter(word for text in texts for word in _tokens(text))
        return sorted(word for word, count in counts.most_common(self.vocabulary - 1) if count > 1)

    def _rows(self, pixels: Tensor, texts: Sequence[str], words: Sequence[str], length: int) -> Tensor:
        """Return pairs as they are stored."""
        numbers = {word: number for number, word in enumerate(words, 2)}
        tokens = torch.zeros(len(texts), length, dtype=torch.int16)
        for row, text in zip(tokens, texts, strict=True):
            found = [numbers.get(word, 1) for word in _tokens(text)[:length]]
            row[: len(found)] = torch.tensor(found, dtype=torch.int16)
        return torch.cat([pixels.flatten(1).to(torch.int16), tokens], 1)


def _tokens(text: str) -> list[str]:
    """Return the words and marks of a text, in small letters."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _pixels(about: About) -> int:
    return int(about["channels"] * about["image_size"] ** 2)


def _of_image(about: About, inputs: Tensor) -> Tensor:
    """Return which places of a row are pixels, bool `[P + T]`."""
    return torch.arange(inputs.shape[1], device=inputs.device) < _pixels(about)


def _image(inputs: Tensor, about: About) -> Tensor:
    """Return the pixels of rows `[B, P + T]`, `[B, channels, S, S]`."""
    return inputs[:, : _pixels(about)].reshape(-1, about["channels"], about["image_size"], about["image_size"])
