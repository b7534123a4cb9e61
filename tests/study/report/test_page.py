import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.show.parsed import parsed
from tests.study.fake import PLAN, Fake, Make, beliefs

from torchsid.errors import RunError
from torchsid.study.report import compare, render, summary_table
from torchsid.study.report.page import cut_table, loss_figures, provenance_table, surety_table
from torchsid.study.runs import load_run

NOISE = {"kind": "symmetric", "rate": 0.2, "measured": 0.1981}
ALWAYS = ["summary", "curves", "stages", "beliefs", "confusion", "calibration", "cost"]


def text_of(runs: list[Path], out: Path) -> str:
    return render(runs, out / "new" / "report.html").read_text(encoding="utf-8")


def test_one_run_has_every_section_in_order(make_run: Make, tmp_path: Path) -> None:
    run = make_run(settings={"data.path": "a <b> & c"}, noise=NOISE, warnings=["<i>late</i>"])
    page = parsed(text_of([run], tmp_path))
    assert page.sections == [*ALWAYS, "conflict", "locality", "noise", "provenance"]
    assert "torchsid train digits --set training.seed=0 --out run" in page.words
    assert (run / "config.toml").read_text() in page.words
    assert "<i>late</i>" in page.words
    assert "19.8\u00a0%" in page.words


def test_several_runs_are_one_page(make_run: Make, tmp_path: Path) -> None:
    runs = [
        make_run("a", plan=PLAN, conflict=False),
        make_run("b", label="Backprop", error=0.1, conflict=False),
        make_run("c", label="Plain", depth=1),
    ]
    page = parsed(text_of(runs, tmp_path))
    assert page.sections == [*ALWAYS, "locality", "provenance"]  # neither noise nor conflict, of which nothing was recorded
    assert all(page.words.count(name) > 5 for name in ("SID", "Backprop", "Plain"))
    assert "layer2.0" in page.words


@pytest.mark.parametrize(("n", "verdict"), [(12, "neither, as far as 12 samples tell"), (1000, "overconfident")])
def test_few_samples_show_nothing_of_confidence(make_run: Make, n: int, verdict: str) -> None:
    (row,) = surety_table(compare([make_run(n=n, error=0.05, epochs=1)])).rows
    assert row[-1].value == verdict
    assert "by chance alone" in row[-2].detail


def test_losses_of_other_meaning_stand_in_other_figures(make_run: Make) -> None:
    runs = [make_run("a", n=9), make_run("b", n=9, label="Backprop"), make_run("c", seed=1, status="interrupted", epochs=0)]
    drawn = [drawing for drawing in loss_figures(compare(runs)) if drawing]
    assert [drawing.title for drawing in drawn] == ["SID: training loss", "Backprop: training loss"]
    assert "Backprop" not in drawn[0].svg


def test_named_samples_are_all_named_and_their_folder_is_the_title(make_run: Make, tmp_path: Path) -> None:
    photos = tmp_path / "my <holiday>"
    run = make_run(validation=False, error=0.3, n=60, epochs=1, depth=2, settings={"data.path": str(photos)})
    truth = [int(target) for target in beliefs(Fake(n=60), 2)[1]]
    train, test = ([f"{part}/cat/<b>{k}\\xe9.jpg" for k in range(60)] for part in ("train", "test"))
    named = {"train": {"names": train, "target": [0] * 60}, "test": {"names": test, "target": truth}}
    (run / "names.json").write_text(json.dumps(named))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["skipped"] = ["<i>bad.jpg</i>: truncated"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    page = parsed(text_of([run], tmp_path))
    assert all(name in page.words for name in (*train, *test, "<i>bad.jpg</i>: truncated"))
    assert "my <holiday>: SID" in page.words
    samples, _ = load_run(run).samples() or (None, None)
    assert samples is not None
    assert samples.names == tuple(test[index] for index in load_file(run / "samples.safetensors")["indices"].tolist())
    shown = sum(
        f"{name}{kind}" in page.words for name in samples.names or () for kind in ("decided at once", "changed its mind", "wrong")
    )
    assert shown == 12
    (run / "names.json").write_text('{"test": {"names": ["a"], "target": []}}')
    with pytest.raises(RunError, match=r"names\.json is damaged"):
        load_run(run)


def test_intervals_are_announced_where_there_are_some(make_run: Make) -> None:
    first, second = (make_run(f"{seed}", n=9, seed=seed) for seed in (0, 1))
    assert "one seed" in summary_table(compare([first])).caption
    assert "over the seeds" in summary_table(compare([first, second])).caption


@pytest.mark.parametrize("changes", [{"status": "interrupted"}, {"status": "running", "epochs": 0}, {"validation": False}])
def test_runs_that_lack_something_have_a_page(make_run: Make, tmp_path: Path, changes: dict[str, object]) -> None:
    page = parsed(text_of([make_run(depth=2, n=60, conflict=False, **changes)], tmp_path))
    assert {"summary", "provenance"} <= set(page.sections)


def test_many_hostile_classes_and_deep_cascades_have_a_page(make_run: Make, tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", '"><img src=x>', "{{ 7*7 }}", *(f"class {k}" for k in range(40))]
    page = parsed(text_of([make_run(depth=16, names=names, error=0.4, n=500, epochs=2, label="<b>SID</b>")], tmp_path))
    assert "{{ 7*7 }}" in page.words
    assert "<b>SID</b>" in page.words


def test_an_existing_report_survives_a_failure(make_run: Make, tmp_path: Path) -> None:
    small = {"depth": 1, "epochs": 1, "n": 9, "conflict": False}
    run, out = make_run(**small), tmp_path / "reports" / "report.html"
    out.parent.mkdir()
    out.write_text("the old one")
    (run / "samples.safetensors").write_text("damaged")
    with pytest.raises(RunError, match=r"samples\.safetensors"):
        render([run], out)
    assert out.read_text() == "the old one"
    assert list(out.parent.iterdir()) == [out]
    with pytest.raises(RunError, match=r"report\.html"):
        render([make_run("other", **small, status="running")], tmp_path)


def test_a_run_tells_all_of_its_manifest(make_run: Make) -> None:
    table = provenance_table([load_run(make_run(noise={"kind": "pair", "rate": 0.2, "measured": 0.198}))])
    said = {name.value: value.value for name, value in table.rows}
    assert said["versions.torch"] == "2.13.0"
    assert said["hardware.memory_gib"] == "31.3"
    assert said["git.dirty"] == "True"
    assert said["data.train"] == "1257"
    assert said["data.noise.measured"] == "0.198"
    assert said["data.fingerprint.digits.csv.gz"] == "cd" * 32
    assert not any(name.startswith(("command", "locality", "data.class_names")) for name in said)


def test_what_holds_for_all_runs_is_said_once(make_run: Make) -> None:
    runs = [load_run(make_run("a")), load_run(make_run("b", label="Backprop", status="interrupted"))]
    rows = {row[0].value: [cell.value for cell in row[1:]] for row in provenance_table(runs).rows}
    assert rows["recipe"] == ["digits", ""]
    assert rows["label"] == ["SID", "Backprop"]
    assert rows["finished"][1] == "–"


@pytest.mark.parametrize("plan", [None, PLAN])
def test_a_trunk_that_was_cut_has_a_row_a_stage(make_run: Make, plan: list[dict[str, object]] | None) -> None:
    found = cut_table("SID", load_run(make_run(plan=plan)).manifest)
    if plan is None:
        assert found is None
        return
    assert found is not None
    assert [row[1].value for row in found.rows] == ["layer1", "layer2.0", "the model"]
    assert all(len(row) == len(found.columns) for row in found.rows)
    assert found.rows[0][2].value == "64x8x8"
