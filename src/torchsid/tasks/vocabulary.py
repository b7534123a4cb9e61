"""From text to tokens and back: characters, bytes, words, pieces of words that byte-pair encoding finds, or numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import DataError, did_you_mean, printable
from torchsid.packages import require
from torchsid.settings import path_of

Ids = NDArray[np.int64]

_UNKNOWN = "[UNK]"


class Vocabulary(ABC):
    """The tokens of a text."""

    @property
    @abstractmethod
    def size(self) -> int:
        """V, the number of different tokens."""

    @abstractmethod
    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the tokens of a text, int64 `[n]`.

        Args:
            text: to be encoded.
            line: with which it begins in its file, for the message.

        Raises:
            DataError: it has characters that the vocabulary does not know; names them and the first line that has any.
        """

    @abstractmethod
    def decode(self, ids: Ids) -> str:
        """Return the text of tokens."""

    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """Return what `remembered` makes the vocabulary of, as JSON can hold it."""


class Characters(Vocabulary):
    """Every character of a text is a token; in the order of their code points."""

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        self._points = _points(self.characters)

    @property
    def size(self) -> int:
        """How many characters there are."""
        return len(self.characters)

    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the number of each character."""
        points = _points(text)
        ids = np.searchsorted(self._points, points).clip(max=self.size - 1)
        if len(wrong := np.flatnonzero(self._points[ids] != points)):
            unknown = sorted(set(map(text.__getitem__, wrong.tolist())))
            line += text.count("\n", 0, int(wrong[0]))
            shown = ", ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
            raise DataError(f"line {line} has characters that the training text has not: {shown}; data.tokens = 'bytes' knows all")
        return ids.astype(np.int64)

    def decode(self, ids: Ids) -> str:
        """Return the characters."""
        return "".join(self.characters[i] for i in ids.tolist())

    def about(self) -> Mapping[str, Any]:
        """Return the characters."""
        return {"characters": self.characters}


class Bytes(Vocabulary):
    """Every byte of the text in UTF-8 is a token."""

    size = 256

    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the bytes."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Ids) -> str:
        """Return the text; what is no UTF-8 as �."""
        return ids.astype(np.uint8).tobytes().decode(errors="replace")

    def about(self) -> Mapping[str, Any]:
        """Return nothing: all bytes are known."""
        return {}


class Pieces(Vocabulary):
    """Words, or pieces of them, by the `tokenizers` library."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def trained(cls, text: str, size: int, *, lowercase: bool = False, spaced: bool = False) -> "Pieces":
        """Return up to `size` pieces that a text is best written with (byte-pair encoding); a short one has fewer.

        Every text has tokens, since its bytes are among them (GPT-2's way).

        Args:
            text: what they are found in.
            size: V, at most.
            lowercase: whether capital letters are read as small ones.
            spaced: whether a line's first word is read as the others are, behind a space, which then stands before what is decoded.

        Raises:
            DataError: the library is not installed.
        """
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE())
        if lowercase:
            tokenizer.normalizer = library.normalizers.Lowercase()
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=spaced)
        tokenizer.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        trainer = library.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls(tokenizer)

    @classmethod
    def words(cls, text: str, size: int, *, lowercase: bool) -> "Pieces":
        """Return up to `size` words and marks that a text has twice or more; all others are one token, the first.

        Raises:
            DataError: the library is not installed.
        """
        library = _library()
        tokenizer = library.Tokenizer(library.models.WordLevel(unk_token=_UNKNOWN))
        if lowercase:
            tokenizer.normalizer = library.normalizers.Lowercase()
        tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
        kept = {"vocab_size": size, "min_frequency": 2, "special_tokens": [_UNKNOWN]}
        trainer = library.trainers.WordLevelTrainer(**kept, show_progress=False)
        tokenizer.train_from_iterator(text.splitlines(), trainer)
        return cls(tokenizer)

    @classmethod
    def of(cls, saved: str) -> "Pieces":
        """Return pieces that `about` has saved."""
        return cls(_library().Tokenizer.from_str(saved))

    @property
    def size(self) -> int:
        """How many pieces there are."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the pieces of a text."""
        lines = self._tokenizer.encode_batch(text.splitlines(keepends=True))
        return np.concatenate([np.empty(0, np.int64), *(np.array(line.ids, dtype=np.int64) for line in lines)])

    def decode(self, ids: Ids) -> str:
        """Return the text of pieces; what is no UTF-8 as �."""
        text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        return text

    def about(self) -> Mapping[str, Any]:
        """Return the tokenizer as its library writes it."""
        return {"tokenizer": self._tokenizer.to_str()}


class FromFile(Pieces):
    """A tokenizer that somebody made, such as a model's own `tokenizer.json`; a text is encoded as a whole.

    Args:
        tokenizer: of the library.
        special: whether to add the tokens that it sets around a text.
    """

    def __init__(self, tokenizer: Any, *, special: bool) -> None:
        super().__init__(tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._special = special

    @classmethod
    def read(cls, setting: str, *, special: bool) -> "FromFile":
        """Return the tokenizer of a file.

        Raises:
            DataError: it cannot be read, or is none; or the library is not installed.
        """
        library = _library()
        try:
            text = path_of(setting).read_text("utf-8")
            return cls(library.Tokenizer.from_str(text), special=special)
        except Exception as error:  # of the library's own kinds as well
            why = getattr(error, "strerror", None) or error
            raise DataError(f"{printable(setting)} (data.tokens) is no tokenizer that can be read: {why}") from None

    @property
    def size(self) -> int:
        """One more than its highest token."""
        return 1 + max(self._tokenizer.get_vocab().values(), default=0)

    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the tokens of a text."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=self._special).ids, dtype=np.int64)

    def about(self) -> Mapping[str, Any]:
        """Return the tokenizer as its library writes it, and how it is used."""
        return {**super().about(), "special_tokens": self._special}


class Numbers(Vocabulary):
    """Tokens that were given as such, by a tokenizer that nobody told: their text is their numbers."""

    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def size(self) -> int:
        """The size of their tokenizer."""
        return self._size

    def encode(self, text: str, line: int = 1) -> Ids:
        """Return the numbers."""
        if wrong := [word for word in text.split() if not (word.isdecimal() and int(word) < self._size)]:
            advice = f"the model was trained on tokens that were given as numbers: give some from 0 to {self._size - 1}"
            raise DataError(f"{', '.join(map(repr, wrong[:10]))}: {advice}, such as '15 7 4'")
        return np.array([int(word) for word in text.split()], dtype=np.int64)

    def decode(self, ids: Ids) -> str:
        """Return the numbers."""
        return " ".join(map(str, ids.tolist()))

    def about(self) -> Mapping[str, Any]:
        """Return their number."""
        return {"num_classes": self._size}


def remembered(about: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary that a data set was made with."""
    match about["tokens"]:
        case "characters":
            return Characters(about["characters"])
        case "bytes":
            return Bytes()
        case "words" | "bpe":
            return _pieces(about["tokenizer"])
        case "file":
            return _pieces_of_file(about["tokenizer"], about["special_tokens"])
        case _:
            return Numbers(about["num_classes"])


def kind_of(tokens: str, names: Sequence[str]) -> str:
    """Return which kind of tokens a setting asks for: one of some names, or `"file"`.

    Raises:
        ValueError: it is neither such a name nor a JSON file's.
    """
    if tokens in names:
        return tokens
    if path_of(tokens).suffix != ".json":
        near = did_you_mean(tokens, names)
        raise ValueError(f"tokens = {tokens!r}{near}: allowed are {', '.join(names)}, and the path of a tokenizer.json")
    return "file"


_pieces = lru_cache(maxsize=4)(Pieces.of)


@lru_cache(maxsize=4)
def _pieces_of_file(saved: str, special: bool) -> FromFile:
    return FromFile(_library().Tokenizer.from_str(saved), special=special)


def taken_over(about: Mapping[str, Any], tokens: str) -> Vocabulary:
    """Return the vocabulary of a data set, for another one with tokens of this kind; see `remembered`.

    Raises:
        DataError: the kinds differ.
    """
    if about["tokens"] != tokens:
        whose, why = f"data.tokens = {tokens!r}, but the network", "which is all that it can read"
        raise DataError(f"{whose} was trained on {about['tokens']!r}, {why}: set data.tokens = {about['tokens']!r}")
    return remembered(about)


def _library() -> Any:
    return require("tokenizers", extra="text", purpose="cutting texts into words (data.tokens = 'words' or 'bpe')")


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
