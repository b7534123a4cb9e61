import pytest

from torchsid import heads, learners, models
from torchsid.cli.list import KINDS
from torchsid.cli.main import main
from torchsid.core import schedules
from torchsid.tasks import images as data
from torchsid.training import recipe_names

NAMES = {
    "recipes": tuple(recipe_names()),
    "models": models.names(),
    "classifiers": models.classifier_names(),
    "heads": heads.names(),
    "learners": learners.names(),
    "data": data.names(),
    "schedules": schedules.names(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_one_line_with_a_description(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split() == [kind, "description"]
    assert {line.split()[0] for line in lines} == set(NAMES[kind])
    assert all(len(line.split()) > 3 for line in lines)


def test_without_a_kind_everything_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    assert all(name in words for names in NAMES.values() for name in names)


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["list", "modles"])
    assert stop.value.code == 2
    assert "models" in capsys.readouterr().err
