"""Windows of a text: in training from any token on, and of what is held out every token once."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchsid.errors import DataError
from torchsid.tasks import Splits
from torchsid.tasks.domain import generator_at
from torchsid.tasks.language import Language

TEXT = "".join(chr(97 + i * i % 23) for i in range(1000))


@pytest.fixture
def language(tmp_path: Path) -> Language:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return Language(path=str(file), cache=str(tmp_path / "cache"), context=16)


def ids(task: Language, splits: Splits) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([splits.about["characters"].index(each) for each in TEXT])


def test_the_parts_lie_one_after_another_and_every_held_out_token_is_a_target_once(language: Language) -> None:
    splits = language.load(0)
    whole, ends = ids(language, splits), np.cumsum([850, 50, 100])
    assert splits.about["num_classes"] == len(set(TEXT[:850]))
    for part, start, end in (("validation", 850, ends[1]), ("test", ends[1], ends[2])):
        samples = getattr(splits, part)
        counts = samples.target != -100
        assert samples.inputs[counts].tolist() == whole[start : end - 1].tolist()
        assert samples.target[counts].tolist() == whole[start + 1 : end].tolist()
        assert torch.equal(samples.weight > 0, counts)
    train = splits.train.take(slice(None))
    assert train.inputs.shape == (850 // 16 - 1, 17)
    assert language.prepare(train.inputs[:], splits.about).flatten().tolist() == whole[: 16 * len(train)].tolist()
    assert train.target.flatten().tolist() == whole[1 : 1 + 16 * len(train)].tolist()


def test_scores_are_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("äb" * 500, encoding="utf-8")
    for tokens, per_character in (("characters", 1.0), ("bytes", 1.5)):
        task = Language(path=str(file), cache=str(tmp_path / "cache"), context=8, tokens=tokens)  # type: ignore[arg-type]
        found = task.scores([0.0, 2.0], "test", task.load(0).about)
        assert found["perplexity"] == pytest.approx([1, np.exp(2)])
        assert found["nats a character"] == pytest.approx([0, 2 * per_character])
        assert found["bits a byte"] == pytest.approx([0, 2 * per_character / 1.5 / np.log(2)])


def test_a_training_window_begins_at_any_token_and_its_target_is_what_follows(language: Language) -> None:
    splits = language.load(0)
    whole, rows = ids(language, splits), torch.tensor([0, 3, 51])
    draws = dict(language.draw(3, splits.about, generator_at("step", 0)))
    assert 0 <= draws["offset"].min() <= draws["offset"].max() < 16
    draws["offset"][:2] = torch.tensor([15, 4])
    parts = {name: next(getattr(splits.train, name).stream([(rows, draws)])) for name in ("inputs", "target")}
    samples = replace(splits.train.take(rows), **parts)
    x, target, weight = language.training_batch(samples, splits.about, {})
    starts = (16 * rows + draws["offset"]).tolist()
    assert x.tolist() == [whole[start : start + 16].tolist() for start in starts]
    assert target.tolist() == [whole[start + 1 : start + 17].tolist() for start in starts]
    assert weight is None
    assert max(starts) + 17 <= 850


def test_a_text_is_encoded_once(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    first = language.load(0)
    monkeypatch.setattr("torchsid.tasks.vocabulary.Characters.encode", None)
    again = language.load(1)
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.test.inputs[:], first.test.inputs[:])
    ids = next(Path(language.cache).glob("*.ids"))
    content = ids.read_bytes()
    for damaged in (content[:-1], b"\xff" + content[1:]):
        ids.write_bytes(damaged)
        with pytest.raises(TypeError):  # it is encoded again
            language.load(0)


def test_damaged_pieces_are_found_again(language: Language) -> None:
    pytest.importorskip("tokenizers", reason="pip install 'torchsid[text]'")
    pieces = replace(language, tokens="bpe", vocabulary=280, context=2)
    about = pieces.load(0).about
    next(file for file in Path(language.cache).glob("*.json") if "counts" not in file.name).write_bytes(b"{")
    assert pieces.load(0).about == about


def test_files_of_tokens_are_read_as_they_are(tmp_path: Path) -> None:
    tokens = np.arange(1000, dtype=np.uint16) % 300
    tokens.tofile(tmp_path / "train.bin")
    tokens[::-1].copy().tofile(tmp_path / "val.bin")
    task = Language(path=str(tmp_path), context=8, vocabulary=300, validation=0.1)
    splits = task.load(0)
    assert (len(splits.train), splits.about["num_classes"]) == (900 // 8 - 1, 300)
    assert splits.train.inputs[0].tolist() == tokens[:9].tolist()
    assert splits.validation.inputs[0].tolist() == tokens[900:908].tolist()
    assert splits.test.inputs[:][splits.test.target[:] != -100].tolist() == tokens[::-1][:-1].tolist()
    with pytest.raises(DataError, match=r"train.bin: token 299 is 299, outside data.vocabulary = 299"):
        replace(task, vocabulary=299).load(0)
    os.utime(tmp_path / "train.bin", (1e9, 1e9))
    with pytest.raises(DataError, match=r"train.bin cannot be read \(it has changed\)"):
        splits.train.inputs[:2]
    (tmp_path / "val.bin").write_bytes(b"abc")
    with pytest.raises(DataError, match=r"val.bin holds an odd number of bytes"):
        task.load(0)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"abc\nde\xff", {}, r"text.txt, line 2 is no UTF-8 \(byte 0xff\)"),
        (b"", {}, "in every part, but train has 0"),
        (b"abc" * 10, {}, r"data.context = 16 needs 32 tokens in every part, but train has"),
        (b"a" * 950 + b"z" * 50, {}, r"text.txt: in what is held out, line 1 has characters"),
        (b"ab ab" * 200, {"tokens": "bpe"}, "data.vocabulary = 4096, but the training text has only 2.. pieces"),
        (None, {}, r"text.txt .data.path. cannot be read"),
        (b"abc", {"path": ""}, "set data.path"),
    ],
)
def test_bad_texts_are_named(language: Language, content: bytes | None, settings: dict[str, Any], message: str) -> None:
    file = Path(language.path)
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        replace(language, **settings).load(0)
