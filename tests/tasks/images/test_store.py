"""Entries of the cache: decoded once, by whomever; whole, or made whole again."""

import shutil
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.workers import ready
from torchsid.tasks.images import store
from torchsid.tasks.images.raw import sums_of
from torchsid.tasks.images.store import Chunk, Colour, Shape, Work, in_memory, stored
from torchsid.tasks.splitting import Labels

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
CHUNK = 7 * 48  # six chunks of seven images at most
FILES = {"pixels.u8", "sums.i64", "index.jsonl"}


class Images(Work):
    """Made-up images, of which some may be bad; counts how often each is decoded."""

    name, keeps_pixels, channels = "made-up", True, None

    def __init__(self, *, bad: tuple[int, ...] = (), keeps_bad: bool = True, ends_at: int = -1) -> None:
        self.count, self.bad, self.keeps_bad, self.ends_at = len(IMAGES), bad, keeps_bad, ends_at
        self.asked: list[int] = []

    @property
    def rows(self) -> Labels:  # type: ignore[override]
        return np.arange(self.count)

    def shape(self) -> Shape:
        return 3, 4, 4

    def decode(self, rows: Labels, shape: Shape) -> Chunk:
        if self.ends_at in rows:
            raise KeyboardInterrupt
        self.asked += rows.tolist()
        pixels, sums = IMAGES[rows], sums_of(IMAGES[rows])
        bad = {i: "caf\udce9" if i % 2 else (1, 9, 9) for i in rows.tolist() if i in self.bad}
        pixels[[i in bad for i in rows]], sums[[i in bad for i in rows]] = 0, -1
        return Chunk(pixels, sums, bad, [i for i in rows.tolist() if i % 9 == 8])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CHUNK", CHUNK)


def check(path: Path, bad: tuple[int, ...] = ()) -> None:
    """Assert that an entry is there and whole, and that nothing is decoded any more."""
    work, wanted = Images(), np.where(np.isin(np.arange(40), bad)[:, None, None, None], 0, IMAGES)
    entry = stored(path, work)
    assert work.asked == []
    assert isinstance(entry.pixels, Path)
    assert np.array_equal(np.fromfile(entry.pixels, dtype=np.uint8).reshape(IMAGES.shape), wanted)
    good = [i for i in range(40) if i not in bad]
    assert np.array_equal(entry.sums[good], sums_of(IMAGES[good]))
    assert entry.index.bad == {i: "caf\udce9" if i % 2 else (1, 9, 9) for i in bad}
    assert entry.index.several == [8, 17, 26, 35]
    assert {each.name for each in path.iterdir()} == FILES
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_entry_is_made_once_and_as_in_memory(tmp_path: Path) -> None:
    work, there = Images(bad=(3, 4)), in_memory(Images(bad=(3, 4)))
    entry = stored(tmp_path / "new" / "x", work)
    assert sorted(work.asked) == list(range(40))
    check(tmp_path / "new" / "x", bad=(3, 4))
    assert isinstance(there.pixels, np.ndarray)
    assert there.pixels.tobytes() == (tmp_path / "new" / "x" / "pixels.u8").read_bytes()
    assert np.array_equal(there.sums, entry.sums)
    assert (there.index.bad, there.index.several) == (entry.index.bad, entry.index.several)


def test_the_rows_of_all_chunks_lie_in_one_array() -> None:
    assert len({id(rows.base) for rows in store._chunks(Images(), (3, 4, 4))}) == 1  # of a million images each has megabytes


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path / "x", Images(ends_at=30))
    assert [path.name for path in tmp_path.iterdir()] == ["x.part"]
    journal = tmp_path / "x.part" / "index.jsonl"
    done = journal.read_bytes().count(b"\n") - 1
    with journal.open("ab") as file:
        file.write(b"[39, 12")  # a line that a kill cut off
    work = Images()
    stored(tmp_path / "x", work)
    assert 40 - 7 * done <= len(work.asked) < 40
    check(tmp_path / "x")


def test_bad_images_are_tried_again_unless_they_are_kept(tmp_path: Path) -> None:
    entry = stored(tmp_path / "x", Images(bad=(3, 38), keeps_bad=False))
    assert (entry.index.bad, entry.pixels) == ({3: "caf\udce9", 38: (1, 9, 9)}, None)
    work = Images(bad=(38,))
    stored(tmp_path / "x", work)
    assert sorted(work.asked) == [*range(7), *range(35, 40)]
    check(tmp_path / "x", bad=(38,))


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99, 1.0])
def test_what_is_damaged_is_made_again(tmp_path: Path, name: str, share: float) -> None:
    stored(tmp_path / "x", Images())
    file = tmp_path / "x" / name
    whole = file.read_bytes()
    place = round(share * (len(whole) - 2))
    for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :], whole + b"x", None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        stored(tmp_path / "x", Images())
        check(tmp_path / "x")


def test_an_entry_that_vanishes_or_cannot_be_written(tmp_path: Path) -> None:
    stored(tmp_path / "x", Images())
    shutil.rmtree(tmp_path / "x")
    stored(tmp_path / "x", Images())
    check(tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        stored(tmp_path / "file" / "cache", Images())


def test_two_at_once_build_once(tmp_path: Path) -> None:
    ready()
    files = [tmp_path / "asked" / name for name in "ab"]
    files[0].parent.mkdir()
    both = [get_context("forkserver").Process(target=_build, args=(tmp_path / "cache" / "x", file)) for file in files]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert sum(int(file.read_text()) for file in files) == 40
    check(tmp_path / "cache" / "x")


def _build(path: Path, file: Path) -> None:
    """Make an entry, or wait for it, and write down how many images were decoded for that."""
    store._CHUNK = CHUNK
    work = Images()
    stored(path, work)
    file.write_text(str(len(work.asked)))


def test_colour_among_grey_is_told(tmp_path: Path) -> None:
    class Grey(Images):
        def decode(self, rows: Labels, shape: Shape) -> Chunk:
            raise Colour

    with pytest.raises(Colour):
        stored(tmp_path / "x", Grey())
    stored(tmp_path / "x", Images())
    check(tmp_path / "x")
