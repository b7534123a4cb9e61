from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchsid.tasks.images import RawSet, cache


class Builder:
    """Counts how often it is asked."""

    def __init__(self, raw: RawSet) -> None:
        test = replace(raw.test, names=tuple(f"caf\udce9 {row}" for row in raw.test.rows))
        self.raw, self.calls = replace(raw, test=test, skipped=("a.png: bad",)), 0

    def __call__(self) -> RawSet:
        self.calls += 1
        return self.raw


@pytest.fixture
def builder(digits: RawSet) -> Builder:
    return Builder(digits)


def assert_same(first: RawSet, second: RawSet) -> None:
    for one, two in ((first.train, second.train), (first.test, second.test)):
        for name in ("images", "labels", "rows"):
            assert np.array_equal(getattr(one, name), getattr(two, name))
            assert getattr(one, name).dtype == getattr(two, name).dtype
        assert one.names == two.names
    assert (second.class_names, second.skipped) == (first.class_names, first.skipped)


def test_the_second_time_nothing_is_built_unless_the_key_differs(tmp_path: Path, builder: Builder) -> None:
    first = cache.remember(tmp_path / "new", "digits", {"a": "1"}, builder)
    assert_same(first, cache.remember(tmp_path / "new", "digits", {"a": "1"}, builder))
    assert builder.calls == 1
    for key in ({"a": "2"}, {"b": "1"}):
        cache.remember(tmp_path / "new", "digits", key, builder)
    assert builder.calls == 3


def test_a_damaged_entry_is_found_and_rebuilt(tmp_path: Path, builder: Builder) -> None:
    good = cache.remember(tmp_path, "digits", {}, builder)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.6, 0.9, 0.98, 0.99, 0.999, 1.0):
        place = round(share * (len(whole) - 1))
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            assert_same(good, cache.remember(tmp_path, "digits", {}, builder))
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
        assert cache.remember(tmp_path / "file" / "cache", "digits", {}, builder) is builder.raw


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder("~/a") == tmp_path / "a"
    for value, expected in (("/x", Path("/x")), ("", tmp_path / ".cache"), ("relative", tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.folder("") == expected / "torchsid"
