"""Windows of a text: in training from any token on, and of what is held out every token once."""

import errno
import json
import os
import signal
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.distributed.workers import exit_code
from torchsid import durable
from torchsid.errors import DataError
from torchsid.tasks import Splits, ledger
from torchsid.tasks.domain import generator_at
from torchsid.tasks.language import Language, bins
from torchsid.tasks.vocabulary import Characters

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


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read whole, or hashed, from now on."""
    found, bytes_of, sha256_of = list[str](), Path.read_bytes, ledger._sha256
    monkeypatch.setattr(Path, "read_bytes", lambda path: (found.append(path.name), bytes_of(path))[1])
    monkeypatch.setattr(ledger, "_sha256", lambda path: (found.append(path.name), sha256_of(path))[1])
    monkeypatch.setattr(ledger, "RECENT", -(10**12))  # what has just been written counts as old
    return found


def test_a_text_of_the_package_needs_no_path_and_gives_way_to_one(language: Language, tmp_path: Path) -> None:
    demo = Language(name="romeo-and-juliet", cache=str(tmp_path / "cache"))
    splits = demo.load(0)
    assert splits.about["name"] == "romeo-and-juliet.txt"
    assert demo.write(demo.read("ROMEO:", splits.about)[0], splits.about) == "ROMEO:"
    assert replace(demo, path=language.path, context=16).load(0).about["name"] == "text.txt"


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_a_text_is_encoded_once_and_then_not_even_read(language: Language, read: list[str], tokens: Any) -> None:
    if tokens == "bpe":
        pytest.importorskip("tokenizers", reason="pip install 'torchsid[text]'")
        language = replace(language, tokens=tokens, vocabulary=280, context=2)
    first = language.load(0)
    (ids,), (known,) = (list(Path(language.cache).glob(f"*.{end}")) for end in ("ids", "json"))
    assert {path.suffix for path in Path(language.cache).iterdir()} == {".ids", ".json", ".npz"}
    tokens_, said = ids.read_bytes(), known.read_bytes()

    def again() -> bool:
        """Whether the text is read again, with the same result."""
        read.clear()
        splits = language.load(1)
        assert (splits.fingerprint, splits.about) == (first.fingerprint, first.about)
        assert torch.equal(splits.test.inputs[:], first.test.inputs[:])
        assert (ids.read_bytes(), json.loads(known.read_bytes())[0]["sha256"]) == (tokens_, json.loads(said)[0]["sha256"])
        return "text.txt" in read

    assert not again()
    os.utime(ids, (1e9, 1e9))  # copied: looked at, and right
    assert not again()
    for damaged in (tokens_[:-1], b"\xff" + tokens_[1:]):
        ids.write_bytes(damaged)
        assert again()
    for damaged in (b"", b"{", said[:-9], b"[]", said.replace(b"counts", b"others"), said.replace(b"850", b"849")):
        known.write_bytes(damaged)
        assert again()


def test_a_text_that_changes_is_encoded_anew_whatever_its_size_and_time(language: Language, read: list[str]) -> None:
    file, first = Path(language.path), language.load(0)
    status = file.stat()
    file.write_text(TEXT[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = language.load(0)
    assert changed.fingerprint["text.txt"] != first.fingerprint["text.txt"]
    assert [changed.about["characters"][i] for i in changed.train.inputs[0].tolist()] == [*TEXT[::-1][:17]]


def test_a_text_that_changes_or_a_disk_that_fills_while_it_is_encoded(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file, sha256s = Path(language.path), ledger.sha256s
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full_disk)
        with pytest.raises(DataError, match=r"tokens cannot be kept in .*cache \(No space left on device\): set data.cache"):
            language.load(0)
    assert list(Path(language.cache).iterdir()) == []
    with pytest.raises(DataError, match=r"tokens cannot be kept in .* \(File exists\): set data.cache"):
        replace(language, cache=str(file)).load(0)
    monkeypatch.setattr(ledger, "sha256s", lambda *args, **also: (sha256s(*args, **also), file.write_text("other"))[0])
    with pytest.raises(DataError, match=r"text.txt has changed while it was read"):
        language.load(0)


def test_a_killed_process_leaves_nothing_that_hinders_and_of_two_at_once_one_encodes(language: Language, tmp_path: Path) -> None:
    assert exit_code(encode, language, None) == -signal.SIGKILL
    log = tmp_path / "log"
    both = [get_context("forkserver").Process(target=encode, args=(language, log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert log.read_bytes() == b"..."  # a part each, once
    assert {path.suffix for path in Path(language.cache).iterdir()} == {".ids", ".json", ".npz"}  # nothing half-written
    assert language.load(0).about["num_classes"] == len(set(TEXT))


def encode(language: Language, log: Path | None) -> None:
    """Load a corpus, and write down whatever is encoded; without a log, be killed then."""

    def told(*args: Any) -> Any:
        if log is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            with log.open("ab") as file:
                file.write(b".")
        return encoded(*args)

    encoded, Characters.encode = Characters.encode, told  # type: ignore[method-assign]
    language.load(0)


def test_files_of_tokens_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.arange(1000, dtype=np.uint16) % 300
    tokens.tofile(tmp_path / "train.bin")
    tokens[::-1].copy().tofile(tmp_path / "val.bin")
    task = Language(path=str(tmp_path), cache=str(tmp_path / "cache"), context=8, vocabulary=300, validation=0.1)
    splits = task.load(0)
    assert (len(splits.train), splits.about["num_classes"]) == (900 // 8 - 1, 300)
    assert splits.train.inputs[0].tolist() == tokens[:9].tolist()
    assert splits.validation.inputs[0].tolist() == tokens[900:908].tolist()
    assert splits.test.inputs[:][splits.test.target[:] != -100].tolist() == tokens[::-1][:-1].tolist()
    monkeypatch.setattr(bins, "_CHUNK", 128)
    with pytest.raises(DataError, match=r"train.bin: token 299 is 299, outside data.vocabulary = 299"):
        replace(task, vocabulary=299).load(0)
    monkeypatch.setattr(bins, "_HEADERS", None)  # what has been looked at is not read again
    assert task.load(0).fingerprint == splits.fingerprint
    monkeypatch.undo()
    os.utime(tmp_path / "train.bin", (1e9, 1e9))
    with pytest.raises(DataError, match=r"train.bin cannot be read \(it has changed\)"):
        splits.train.inputs[:2]
    for content, message in (
        (b"abc", "holds an odd number of bytes"),
        (tokens.astype(np.uint32).tobytes(), "every second token is 0, as if they were stored as uint32"),
        (b"\x93NUMPY" + tokens.tobytes(), "is a NumPy array"),
        (None, "is not there: nanoGPT's prepare.py writes train.bin and val.bin"),
    ):
        (tmp_path / "val.bin").unlink() if content is None else (tmp_path / "val.bin").write_bytes(content)
        with pytest.raises(DataError, match=f"val.bin.? {message}"):
            task.load(0)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"abc\nde\xff", {}, r"text.txt, line 2 is no UTF-8 \(byte 6 of the file is 0xff\)"),
        (b"", {}, "text.txt has no text to learn from: 0 characters"),
        (b" \n" * 500, {}, "text.txt has no text to learn from: 1000 characters, 150 of them held out"),
        (b"abc", {"test": 0.6, "validation": 0.4}, "leave nothing to learn from: lower them"),
        (b"abc" * 10, {}, r"data.context = 16 needs 32 tokens in every part, but train has"),
        (b"a\n" * 950 + b"z" * 100, {}, r"text.txt, in what is held out, line 951 has characters"),
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
