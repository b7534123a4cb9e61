"""What is encoded can be decoded, and the text's own vocabulary knows it."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.errors import DataError
from torchsid.tasks.vocabulary import Bytes, Characters, FromFile, Pieces, kind_of, remembered

TEXT = "To be, or not to be:\nthat is the question – ünd, 世界 😀\n" * 40


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_texts_come_back_also_from_what_a_run_remembers(kind: str) -> None:
    made = {"characters": lambda: Characters(TEXT), "bytes": Bytes, "bpe": lambda: Pieces.trained(TEXT, 280)}[kind]()
    ids = made.encode(TEXT)
    assert ids.dtype == np.int64
    assert 0 <= ids.min() <= ids.max() < made.size
    assert made.decode(ids) == TEXT
    again = remembered({"tokens": kind, **made.about()})
    assert (again.size, again.encode(TEXT).tolist()) == (made.size, ids.tolist())


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=50))
def test_any_text_of_known_characters_comes_back(text: str) -> None:
    for made in (Characters(text + "x"), Bytes()):
        assert made.decode(made.encode(text)) == text


def test_unknown_characters_are_named_with_their_line() -> None:
    with pytest.raises(DataError, match=r"line 2 has characters .* 'x', 'ä'; data.tokens = 'bytes'"):
        Characters("abc\n").encode("ab\ncäx")


def test_given_tokens_are_numbers() -> None:
    numbers = remembered({"tokens": "given", "num_classes": 20})
    assert numbers.encode("15 7\n4").tolist() == [15, 7, 4]
    assert numbers.decode(np.array([15, 7])) == "15 7"
    with pytest.raises(DataError, match=r"'20', 'x', '-1': .* from 0 to 19"):
        numbers.encode("3 20 x -1")


def test_a_tokenizer_of_a_file_encodes_a_text_as_a_whole(tmp_path: Path) -> None:
    library = import_module("tokenizers")
    made = library.Tokenizer.from_str(str(Pieces.trained(TEXT, 280).about()["tokenizer"]))
    made.add_special_tokens(["<s>"])
    made.post_processor = library.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 280)])
    made.enable_truncation(5)
    made.save(str(tmp_path / "tokenizer.json"))
    for special in (True, False):
        read = FromFile.read(str(tmp_path / "tokenizer.json"), special=special)
        ids = read.encode(TEXT)
        assert (ids[0] == 280) == special
        assert (read.size, read.decode(ids).removeprefix("<s>")) == (281, TEXT)
        again = remembered({"tokens": "file", **read.about()})
        assert (again.size, again.encode(TEXT).tolist()) == (281, ids.tolist())
    for wrong in ("none.json", "texts.json"):
        (tmp_path / "texts.json").write_text("{}")
        with pytest.raises(DataError, match=rf"{wrong} \(data.tokens\) is no tokenizer that can be read"):
            FromFile.read(str(tmp_path / wrong), special=True)
    with pytest.raises(ValueError, match=r"tokens = 'bpee' \(did you mean 'bpe'\?\): allowed are bpe, bytes, and the path"):
        kind_of("bpee", ("bpe", "bytes"))


def test_a_short_text_has_fewer_pieces() -> None:
    assert 256 < Pieces.trained("ab ab ab", 5000).size < 300
