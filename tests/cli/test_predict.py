import json
from pathlib import Path

import pytest

from torchsid.cli.main import main
from torchsid.tasks import images as data
from torchsid.tasks.images import DataConfig

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first test image of the digits, as a PNG file."""
    pil = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.mktemp("images") / "digit.png"
    pixels = data.load(DataConfig(name="digits"), seed=0).test.images[0, 0]
    pil.fromarray(pixels.numpy()).save(path)
    return path


def test_the_belief_grows_from_the_prior_stage_by_stage(runs: Path, image: Path, capsys: Output) -> None:
    assert main(["predict", str(runs / "digits"), str(image), "--weights", "last"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["digit.png", "prior", "stage", "1", "stage", "2"]
    assert len(rows) == 3
    assert all(row.split()[1:3] == ["10.0", "%"] for row in rows)
    final = [float(row.split()[-2]) for row in rows]
    assert final == sorted(final, reverse=True)

    evaluation = json.loads((runs / "digits" / "evaluation.json").read_text())["last"]["test"]
    label = int(data.load(DataConfig(name="digits"), seed=0).test.labels[0])
    assert (rows[0].split()[0] == str(label)) == (evaluation["correct"][0] == "1")


def test_one_table_an_image_and_no_more_classes_than_there_are(runs: Path, image: Path, capsys: Output) -> None:
    assert main(["predict", str(runs / "digits-bp"), str(image), str(image), "--top", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines].count("digit.png") == 2
    assert len(lines) == 2 * 11


def test_every_file_that_is_no_image_is_named(runs: Path, image: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "notes.png").write_text("no image")
    assert main(["predict", str(runs / "digits"), "gone.png", str(image), "notes.png"]) == 2
    captured = capsys.readouterr()
    assert "gone.png" in captured.err
    assert "notes.png" in captured.err
    assert captured.out == ""
