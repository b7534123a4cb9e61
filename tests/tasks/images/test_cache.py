from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchsid.tasks.images import cache
from torchsid.tasks.images.raw import RawSet


class Builder:
    """Counts how often it is asked."""

    def __init__(self, raw: RawSet) -> None:
        self.raw, self.calls = replace(raw, skipped=("a.png: bad",)), 0

    def __call__(self) -> RawSet:
        self.calls += 1
        return self.raw


@pytest.fixture
def builder(digits: RawSet) -> Builder:
    return Builder(digits)


def test_the_second_time_nothing_is_built(tmp_path: Path, builder: Builder) -> None:
    first = cache.remember(tmp_path / "new", "digits", {"a": "1"}, builder)
    second = cache.remember(tmp_path / "new", "digits", {"a": "1"}, builder)
    assert builder.calls == 1
    for one, two in ((first.train, second.train), (first.test, second.test)):
        assert np.array_equal(one.images, two.images)
        assert np.array_equal(one.labels, two.labels)
        assert np.array_equal(one.rows, two.rows)
        assert (two.images.dtype, two.labels.dtype) == (np.uint8, np.int64)
    assert (second.class_names, second.skipped) == (first.class_names, first.skipped)


def test_another_key_is_another_entry(tmp_path: Path, builder: Builder) -> None:
    for key in ({"a": "1"}, {"a": "2"}, {"b": "1"}):
        cache.remember(tmp_path, "digits", key, builder)
    assert builder.calls == 3


@pytest.mark.parametrize("position", [0.0, 0.001, 0.3, 0.6, 0.9, 0.98, 0.99, 0.999, 1.0])
def test_an_altered_byte_is_found_and_the_entry_rebuilt(tmp_path: Path, builder: Builder, position: float) -> None:
    good = cache.remember(tmp_path, "digits", {}, builder)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[round(position * (len(content) - 1))] ^= 0x55
    path.write_bytes(content)
    again = cache.remember(tmp_path, "digits", {}, builder)
    assert np.array_equal(good.train.images, again.train.images)
    assert np.array_equal(good.test.labels, again.test.labels)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_entry_is_rebuilt_and_stored_again(tmp_path: Path, builder: Builder, share: float) -> None:
    cache.remember(tmp_path, "digits", {}, builder)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    cache.remember(tmp_path, "digits", {}, builder)
    cache.remember(tmp_path, "digits", {}, builder)
    assert builder.calls == 2
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: object, **arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.remember(tmp_path, "digits", {}, builder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, builder: Builder) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match=r"set data\.cache"):
        raw = cache.remember(tmp_path / "file" / "cache", "digits", {}, builder)
    assert raw is builder.raw


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder("~/a") == tmp_path / "a"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.folder("") == Path("/x/torchsid")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.folder("") == tmp_path / ".cache" / "torchsid"
