"""The scripts behind the figures of reading: what they make is the same for the same seed, and every contender reads all of it."""

import importlib
import json
import tarfile
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from torch import Tensor

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "data"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    module = importlib.import_module("make")
    monkeypatch.setattr(module, "TEXTURE", 704)  # just larger than the largest photograph
    module.texture.cache_clear()
    module.jpeg.cache_clear()
    return module


def test_every_layout_has_the_same_images_which_repeat_if_asked(made: ModuleType, tmp_path: Path) -> None:
    for layout in made.LAYOUTS:
        made.make(tmp_path / layout, images=9, classes=2, layout=layout, side=16, distinct=6, seed=3)
    files = {int(path.stem[-7:]): (path.parent.name[-3:], path.read_bytes()) for path in (tmp_path / "folder").rglob("*.jpg")}
    assert sorted(files) == list(range(9))
    assert files[0] == files[6] != files[2]
    with tarfile.open(tmp_path / "tars" / "train-0000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    rows = pq.read_table(tmp_path / "parquet" / "train-0000.parquet").to_pylist()
    for number, (label, data) in files.items():
        assert (int(members[f"{number:07}.cls"]), members[f"{number:07}.jpg"]) == (int(label), data)
        assert (rows[number]["label"], rows[number]["image"]["bytes"]) == (int(label), data)
    with pytest.raises(ValueError, match="multiple of the 2 classes"):
        made.make(tmp_path, images=9, classes=2, side=16, distinct=5, seed=3)


@pytest.mark.parametrize("crops", [True, False], ids=["crops", "as they are"])
def test_every_contender_reads_every_image_once(made: ModuleType, tmp_path: Path, crops: bool) -> None:
    contenders = importlib.import_module("contenders")
    made.make(tmp_path, images=10, validation=2, classes=2, side=0 if crops else 32, distinct=0, seed=0)
    folder = contenders.Folder(str(tmp_path), 32, crops, str(tmp_path / "cache"), batch_size=4)
    for name, open_ in contenders.CONTENDERS.items():
        labels, shapes = [], set()

        def step(x: Tensor, target: Tensor, labels: list[int] = labels, shapes: set[tuple[int, ...]] = shapes) -> None:
            labels.extend(target.tolist())
            shapes.add(tuple(x.shape[1:]))

        if not name.startswith("datasets"):  # which is no dependency
            with ExitStack() as stack:
                assert open_(folder, stack)(1, step) == 10
            if name not in (contenders.ALONE, contenders.DELIVERED):  # which train nothing
                assert (sorted(labels), shapes) == ([0] * 5 + [1] * 5, {(3, 32, 32)})


def test_the_recorded_tables_are_made_of_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    table, recorded = importlib.import_module("bench").table, [*(SCRIPTS.parent / "results" / "data").glob("*.json")]
    assert recorded
    for path in recorded:
        rows = json.loads(path.read_text())["rows"]
        assert table("rates" if "contender" in rows[0] else "start", rows) == path.with_suffix(".md").read_text()
