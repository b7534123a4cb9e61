import pytest
import torch
from tests.show.parsed import parsed
from torch import Tensor

from torchsid import LocalObjective
from torchsid.show.page import Page
from torchsid.study.certify.answers import Answers
from torchsid.study.certify.certificate import certify
from torchsid.study.certify.page import Certified, Subject, certificate_page
from torchsid.tasks import Samples

NAMES = ["<cat>", "a & b", "{{ 7*7 }}", "owl"]


def beliefs(inputs: Tensor, depth: int = 4, positions: tuple[int, ...] = ()) -> Tensor:
    """Beliefs that follow from the number of a sample; the last of them err now and then, and change their mind."""
    generators = [torch.Generator().manual_seed(int(number)) for number in inputs]
    drawn = [torch.randn(depth + 1, *positions, len(NAMES), generator=generator).cumsum(0) for generator in generators]
    found = torch.stack(drawn, dim=1)
    found[0] = 0
    return found.log_softmax(-1)


def certified(split: str, *, noise: bool = False, depth: int = 4, positions: tuple[int, ...] = ()) -> Certified:
    inputs = torch.arange(40)
    truth = beliefs(inputs, positions=positions)[-1].argmax(-1)
    given = (truth + (torch.rand(truth.shape, generator=torch.Generator().manual_seed(1)) < 0.4).long()) % len(NAMES)
    weight = (torch.arange(40 * max(positions)) % 3 > 0).double().reshape(40, *positions) if positions else None
    samples = Samples(inputs, given, weight, clean_target=truth if noise else None)
    parts: list[Answers] = []
    found = certify(
        lambda x: beliefs(x, depth, positions),
        samples,
        LocalObjective(),
        prepare=lambda x: x,
        batch_size=7,
        onlooker=lambda flat: parts.append(Answers.of(flat)),
    )
    return Certified(split=split, samples=samples, certificates=found, answers=Answers.joined(parts))


def subject(depth: int = 4, positions: tuple[int, ...] = (), **changes: object) -> Subject:
    about: dict[str, object] = {
        "name": "run <1>",
        "description": "digits",
        "class_names": NAMES,
        "theory": ["What is proven."],
        "log_beliefs": lambda x: beliefs(x, depth, positions),
        "show": lambda x: f"<code>{int(x)}</code>",
    }
    return Subject(**{**about, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def parts() -> list[Certified]:
    return [certified("train", noise=True), certified("test")]


@pytest.fixture(scope="module")
def whole(parts: list[Certified]) -> Page:
    return certificate_page(subject(), parts)


def test_all_sections_stand_on_a_page_that_is_whole(whole: Page) -> None:
    page = parsed(whole.html())
    assert page.sections == ["statements", "failures", "classes", "calibration", "triangle", "flips", "noise", "beliefs"]
    assert "What is proven." in page.words
    assert [tag for tag, _ in page.tags].count("details") == 2  # the training labels, given and clean; test samples are pictured
    assert len(whole.drawings()) >= 10


def test_cards_show_what_was_believed_about_their_sample(whole: Page, parts: list[Certified]) -> None:
    part = parts[-1]
    (section,) = [section for section in whole.sections if section.anchor == "failures"]
    stages = [stage.failures for stage in part.certificate.stages]
    _, place = max(pair for failures in stages for pair in zip(failures.rises, failures.samples, strict=True))
    card = section.parts[-1].cards[0]  # type: ignore[union-attr]
    assert card.sample == f"<code>{place}</code>"
    own = beliefs(torch.tensor([place]))[-1, 0].exp()[part.answers.truth[place]]
    assert f"{100 * float(own):.0f}\u00a0%" in card.drawing.svg


def test_what_there_is_nothing_to_say_of_is_left_out() -> None:
    page = parsed(certificate_page(subject(1), [certified("test", depth=1)]).html())
    assert not {"flips", "noise"} & set(page.sections)
    assert "statements" in page.sections


def test_positions_of_a_sample_have_cards_of_their_own_and_corners_can_be_chosen() -> None:
    found = certificate_page(subject(positions=(3,), classes=(3, 0, 1)), [certified("train", noise=True, positions=(3,))])
    page = parsed(found.html())
    assert "noise" in page.sections
    assert "position 1" in page.words
    assert {"owl", "<cat>", "a & b"} <= set(found.drawings()["triangle-1"].title.removeprefix("Beliefs in ").split(", "))
