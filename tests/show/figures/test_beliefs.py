import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from torchsid.show import Samples
from torchsid.show.figures.beliefs import settled_stage, trajectories


def answering(*answers: int, classes: int = 3) -> np.ndarray:
    """`[L+1, C]`: a uniform prior, then a stage for each answer."""
    beliefs = np.full((len(answers) + 1, classes), 1 / classes)
    for stage, answer in enumerate(answers, 1):
        beliefs[stage] = 0.1
        beliefs[stage, answer] = 1 - 0.1 * (classes - 1)
    return beliefs


def samples(*cases: tuple[int, tuple[int, ...]], channels: int = 1) -> Samples:
    beliefs = np.stack([answering(*answers) for _, answers in cases], axis=1)
    images = np.arange(len(cases) * channels * 16, dtype=np.uint8).reshape(len(cases), channels, 4, 4)
    return Samples(images, np.array([label for label, _ in cases]), beliefs, np.arange(len(cases)))


@pytest.mark.parametrize(
    ("answers", "stage"),
    [((0, 0, 0), 1), ((1, 0, 0), 2), ((0, 1, 0), 3), ((1, 1, 0), 3), ((2,), 1)],
)
def test_settled_stage_is_the_first_from_which_all_agree(answers: tuple[int, ...], stage: int) -> None:
    assert settled_stage(answering(*answers)) == stage


def test_the_prior_is_not_an_answer() -> None:
    assert settled_stage(answering(2, 2)) == 1  # the argmax of a uniform prior is class 0


def test_kinds_are_told_and_ordered() -> None:
    found = trajectories(samples((0, (1, 1)), (2, (1, 2)), (1, (1, 1))), ["cat", "dog", "eel"])
    assert [(entry.kind, entry.caption) for entry in found] == [
        ("decided at once", "True: dog. Answer: dog, from stage 1 of 2."),
        ("changed its mind", "True: eel. Answer: eel, from stage 2 of 2."),
        ("wrong", "True: cat. Answer: dog, from stage 1 of 2."),
    ]


def test_a_limit_is_shared_out_over_the_kinds() -> None:
    cases = [(0, (0, 0))] * 5 + [(0, (1, 0))] * 5 + [(0, (1, 1))]
    kinds = [entry.kind for entry in trajectories(samples(*cases), ["a", "b", "c"], limit=6)]
    assert [kinds.count(kind) for kind in ("decided at once", "changed its mind", "wrong")] == [3, 2, 1]


def test_the_river_names_whoever_led() -> None:
    (entry,) = trajectories(samples((2, (1, 2, 2))), ["cat", "dog", "eel"])
    assert ">dog</text>" in entry.river.svg
    assert ">eel</text>" in entry.river.svg
    assert ">cat</text>" in entry.river.svg or "cat" not in entry.caption


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_images_keep_their_pixels(channels: int, mode: str) -> None:
    given = samples((0, (0,)), channels=channels)
    (entry,) = trajectories(given, ["a", "b", "c"])
    image = Image.open(BytesIO(base64.b64decode(entry.image.removeprefix("data:image/png;base64,"))))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(4, 4, channels), np.moveaxis(given.images[0], 0, -1))
