from pathlib import Path

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


def test_a_report_of_two_runs(runs: Path, tmp_path: Path, capsys: Output) -> None:
    names = [str(runs / "digits"), str(runs / "digits-bp")]
    assert main(["report", *names, "--out", "page.html"]) == 0
    assert capsys.readouterr().out == f"report: file://{tmp_path}/page.html\n"
    assert Path("page.html").read_text() == (runs / "report.html").read_text()


def test_one_directory_gets_its_report_inside(runs: Path, capsys: Output) -> None:
    (runs / "digits" / "report.html").unlink()
    assert main(["report", str(runs / "digits")]) == 0
    assert (runs / "digits" / "report.html").is_file()


def test_several_directories_need_a_place(runs: Path, capsys: Output) -> None:
    assert main(["report", str(runs / "digits"), str(runs / "digits-bp")]) == 2
    assert "--out FILE" in capsys.readouterr().err
