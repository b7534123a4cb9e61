"""Where inputs are read from, and by whom, changes nothing; what is read anew ends no run for good."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import children
from torchsid.errors import DataError
from torchsid.training import Interrupted, RunConfig, open_run, resolve, train

from .conftest import NARROW, SMALL, Recorder, assert_same_result
from .test_loop import interrupt_at

Photos = Callable[..., RunConfig]

CROPPED = "data.augment.random_resized_crop=0.3"
FLY = ["data.cache=off", "data.memory=0"]
WAYS = {
    "in memory": [],
    "read from the cache": ["data.memory=0"],
    "decoded here": [*FLY, "data.workers=0"],
    "decoded by processes": [*FLY, "data.workers=2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of two kinds, of different sizes and types; two epochs of 7 steps."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(70):
        path = folder / ("test" if i % 10 == 0 else "train") / "ab"[i % 2] / f"{i:02}.{'jpg' if i % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (3, 4) if i % 5 == 0 else (3, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((20 + i % 7, 30 - i % 7)).save(path)
    return folder


@pytest.fixture(scope="module")
def photos(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    settings = [f"data.path={folder}", f"data.cache={tmp_path_factory.mktemp('decoded')}", "data.size=8", "training.batch_size=8"]
    return lambda *more: resolve("digits", [*SMALL, *NARROW, "data.limit=0", "data.name=folder", *settings, *more])


@pytest.fixture(scope="module")
def reference(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all in memory."""
    return train(photos(), tmp_path_factory.mktemp("runs") / "reference")


@pytest.mark.parametrize("way", ["read from the cache", "decoded by processes"])
def test_runs_are_the_same_wherever_inputs_are_read_resumed_ones_too(photos: Photos, tmp_path: Path, way: str) -> None:
    before, reference = children(), train(photos(), tmp_path / "reference")
    with pytest.raises(Interrupted):
        train(photos(*WAYS[way]), tmp_path / "run", reporter=interrupt_at(2, 3))
    assert children() == before
    assert_same_result(train(photos(*WAYS[way]), tmp_path / "run", resume=True), reference)
    assert children() == before


def test_crops_of_the_files_are_the_same_whoever_makes_them(photos: Photos, tmp_path: Path) -> None:
    ways = ("in memory", "decoded here", "decoded by processes")
    stored, here, elsewhere = (train(photos(CROPPED, *WAYS[way]), tmp_path / way) for way in ways)
    assert_same_result(here, elsewhere)
    with pytest.raises(AssertionError):
        assert_same_result(here, stored)  # which cuts boxes out of smaller images


def test_a_file_that_vanishes_ends_a_run_that_is_saved(photos: Photos, folder: Path, reference: Path, tmp_path: Path) -> None:
    config, run, gone = photos(*WAYS["decoded here"]), tmp_path / "run", folder / "train" / "b" / "13.jpg"
    data, recorder = gone.read_bytes(), Recorder(lambda *now: gone.unlink() if now == (1, 5) else None)
    try:
        with pytest.raises(DataError, match=r"13\.jpg: has gone(?s:.*)the run is saved, after step \d of epoch \d"):
            train(config, run, reporter=recorder)
    finally:  # other tests need it
        gone.write_bytes(data)
    assert open_run(run).manifest()["status"] == "interrupted"
    assert_same_result(train(config, run, resume=True), reference)


def test_a_run_whose_decoding_process_is_killed_goes_on_with_fewer(photos: Photos, reference: Path, tmp_path: Path) -> None:
    before = children()

    def kill(epoch: int, step: int) -> None:
        if (epoch, step) == (1, 7):
            [os.kill(process, 9) for process in children() - before]

    with pytest.raises(DataError, match=r"a process that decodes images has died(?s:.*)lower data\.workers(?s:.*)the run is saved"):
        train(photos(*FLY, "data.workers=1"), tmp_path / "run", reporter=Recorder(kill))
    assert children() == before
    assert_same_result(train(photos(*FLY, "data.workers=0"), tmp_path / "run", resume=True), reference)
