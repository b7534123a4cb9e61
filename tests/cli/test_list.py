import pytest

from torchsid.cli.list import KINDS, descriptions
from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_one_line_with_a_description(kind: str, capsys: Output) -> None:
    assert main(["list", kind]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split() == [kind, "description"]
    assert {line.split()[0] for line in lines} == set(descriptions(kind))
    assert all(len(line.split()) > 2 for line in lines)


def test_without_a_kind_everything_is_listed_and_an_unknown_one_is_refused(capsys: Output) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    for name in ("digits-noise-gce", "images", "fashion-mnist", "simple-cnn", "vit-tiny", "staged", "pyramid", "elr", "two_phase"):
        assert name in words
    with pytest.raises(SystemExit) as stop:
        main(["list", "modles"])
    assert stop.value.code == 2
    assert "models" in capsys.readouterr().err
