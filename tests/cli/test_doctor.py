"""`torchsid doctor` says what is there, and tries it."""

from pathlib import Path

import pytest

from torchsid.cli import doctor
from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


def test_it_names_versions_and_extras_and_trains(capsys: Output) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for part in ("torch", "cores", "tensorboard", "self-test: four epochs on the embedded digits, written, loaded, asked: "):
        assert part in shown


def test_a_machine_that_computes_nonsense_is_told(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "self_test", lambda: 0.11)
    assert main(["doctor"]) == 2
    assert "something is wrong here" in capsys.readouterr().out
    assert main(["doctor", "--no-test"]) == 0


def test_without_an_installation_there_are_no_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert doctor.extras() == {}


def test_what_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["numpy>=1", "scipy>=1 ; extra == 'report'", "nowhere>=3 ; extra == 'report'"]
    )
    ((name, (there, missing)),) = doctor.extras().items()
    assert (name, missing) == ("report", ["nowhere"])
    assert there[0].startswith("scipy ")
