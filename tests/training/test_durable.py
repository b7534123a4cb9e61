import errno
from pathlib import Path

import pytest

from torchsid.errors import RunError
from torchsid.training import durable


def fill(path: Path, text: str, keep: Path | None = None) -> None:
    with durable.replacing_directory(path, keep=keep) as fresh:
        assert fresh == durable.being_written(path)
        durable.write_bytes(fresh / "file", text.encode())


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("failing", "call"), [("mkdir", 0), ("rename", 0), ("rename", 1)])
def test_the_old_directory_stays_when_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, call: int
) -> None:
    path = tmp_path / "last"
    fill(path, "old")
    real, calls = getattr(Path, failing), iter(range(10))

    def refuse(self: Path, *args: object, **kwargs: object) -> object:
        return full_disk() if next(calls) == call else real(self, *args, **kwargs)

    monkeypatch.setattr(Path, failing, refuse)
    with pytest.raises(RunError, match="No space left on device"):
        fill(path, "new")
    monkeypatch.undo()
    assert (durable.current(path) / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last"
    fill(path, "old")
    path.rename(tmp_path / ".last.old")
    (tmp_path / ".last.new").mkdir()
    assert (durable.current(path) / "file").read_text() == "old"
    fill(path, "new")
    assert (durable.current(path) / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_a_failed_write_leaves_nothing_and_the_directory_before_is_kept_if_asked_to(tmp_path: Path) -> None:
    path, before = tmp_path / "last", tmp_path / "last-previous"
    for kept in (set[str](), {"last", "last-previous"}):
        with pytest.raises(RunError), durable.replacing_directory(path, keep=before) as fresh:
            (fresh / "file").write_bytes((tmp_path / "absent").read_bytes())
        assert {entry.name for entry in tmp_path.iterdir()} == kept
        for text in ("first", "second", "third"):
            fill(path, text, keep=before)
        assert ((path / "file").read_text(), (before / "file").read_text()) == ("third", "second")


def test_a_text_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    durable.write_text(path, "old")
    monkeypatch.setattr(durable.os, "fsync", full_disk)
    with pytest.raises(RunError, match=r"manifest\.json"):
        durable.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
