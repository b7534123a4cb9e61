import json
from pathlib import Path

import pytest

from torchsid.show import comparison, sections

from .conftest import PLAN, Make


def change_manifest(path: Path, **changes: object) -> Path:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


def set_evaluation(path: Path, **changes: object) -> Path:
    file = path / "evaluation.json"
    evaluation = json.loads(file.read_text())
    evaluation["best"]["test"].update(changes)
    file.write_text(json.dumps(evaluation))
    return path


def test_stages_answer_whether_kl_falls(make_run: Make) -> None:
    path = set_evaluation(make_run(depth=3), kl=[2.3, 1.0, 1.5, 0.5], accuracy=[0.1, 0.5, 0.897, 0.9])
    said = sections.by_stage(comparison([path])).sentences[0]
    assert said == (
        "SID: KL rises at stage 2 of 3, and goes from 2.30 nats at the prior to 0.500. "
        "Stage 2 is the first within half a point of the last one's accuracy."
    )


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        ([0.1, 0.5, 0.8, 0.9], "No earlier stage comes within half a point"),
        ([0.1, 0.5, 0.92, 0.9], "Stage 2 is the most accurate, 2.00 points above the last."),
        ([0.1, 0.898, 0.8, 0.9], "Stage 1 is the first within half a point"),
    ],
)
def test_stages_say_which_stage_would_do(make_run: Make, accuracy: list[float], said: str) -> None:
    path = set_evaluation(make_run(depth=3), accuracy=accuracy)
    assert said in sections.by_stage(comparison([path])).sentences[0]


def test_stages_draw_a_band_for_cascades_only(make_run: Make) -> None:
    result = comparison([make_run("a"), make_run("b", label="Plain", depth=1)])
    titles = [drawing.title for drawing in sections.by_stage(result).drawings]
    assert [title for title in titles if "single samples" in title] == ["SID: KL of single samples, nats"]


def test_learning_curves_name_the_best_epoch(make_run: Make) -> None:
    section = sections.learning_curves(comparison([make_run(epochs=12)]))
    assert section.sentences == ("SID is best on validation after epoch 9 of 12.",)
    assert [drawing.title for drawing in section.drawings] == ["Validation accuracy by epoch, %", "Training loss by epoch"]


def test_minds_are_told_for_cascades_and_share_the_page(make_run: Make) -> None:
    result = comparison([make_run("a"), make_run("b", label="Backprop"), make_run("c", label="Plain", depth=1)])
    found = sections.minds(result)
    assert [(entry.method, len(entry.trajectories)) for entry in found] == [("SID", 6), ("Backprop", 6)]


def test_calibration_says_which_way_it_errs(make_run: Make) -> None:
    bins = {"confidence": [0.9, 0.0], "accuracy": [0.7, 0.0], "count": [100, 0]}
    path = set_evaluation(make_run(), calibration=bins, accuracy=[0.1] * 5 + [0.7])
    assert "SID is overconfident: mean confidence 90.0\u00a0%" in sections.calibrated(comparison([path])).sentences[0]
    path = set_evaluation(path, accuracy=[0.1] * 5 + [0.95])
    assert "SID is underconfident" in sections.calibrated(comparison([path])).sentences[0]


def test_costs_compare_methods_and_follow_a_single_run(make_run: Make) -> None:
    a, b = make_run("a"), change_manifest(make_run("b", label="Backprop"), train_seconds=22.5333333)
    both = sections.costs(comparison([a, b]))
    assert both.sentences[0] == "Backprop trains in 2.00 of the time of SID."
    assert len(both.drawings) == 3
    alone = sections.costs(comparison([a]))
    assert alone.sentences[0].startswith("Training took 11.3 s, the median epoch ran at ")
    assert [drawing.title for drawing in alone.drawings] == ["Images a second by epoch", "Memory by epoch, MiB"]


def test_tradeoffs_need_two_methods_and_what_they_cost(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", label="Backprop")
    section = sections.tradeoffs(comparison([a, b]))
    assert [drawing.title.partition(":")[0] for drawing in section.drawings] == [
        "Test accuracy against memory",
        "Test accuracy against training time",
    ]
    assert len(section.sentences) == 1
    assert sections.tradeoffs(comparison([a])) == sections.Section(())
    older = make_run("c", label="Other", kept_bytes=None)
    section = sections.tradeoffs(comparison([a, older]))
    assert [drawing.title for drawing in section.drawings] == ["Test accuracy against training time: upper left is better"]
    assert section.sentences == ()


def test_conflicts_count_the_pairs_and_name_who_recorded_nothing(make_run: Make) -> None:
    a, b = make_run("a", depth=2, epochs=1), make_run("b", label="Backprop", conflict=False)
    lines = [json.loads(line) for line in (a / "metrics.jsonl").read_text().splitlines()]
    lines[1]["conflict"] = [[1.0, -0.25], [-0.25, 1.0]]
    (a / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    section = sections.conflicts(comparison([a, b]))
    assert "is −0.25; over 1 recorded epoch it is −0.25. 1 of 1 pair conflict" in section.sentences[0]
    assert section.sentences[1] == "Not recorded for Backprop."
    assert len(section.drawings) == 1


def test_a_trunk_that_was_cut_has_no_conflict_to_record(make_run: Make) -> None:
    section = sections.conflicts(comparison([make_run(conflict=False, plan=PLAN)]))
    assert section.sentences == ("The stages of SID share no extractor in which gradients could conflict.",)


def test_locality_is_told_in_words(make_run: Make) -> None:
    entry = {"verdict": "global", "stages": 5, "runs": 0, "detail": "global: one loss, all stages"}
    a, b = make_run("a"), change_manifest(make_run("b", label="Backprop"), locality=entry)
    c = change_manifest(make_run("c", label="Other"), locality=None)
    said = sections.locality(comparison([a, b, c])).sentences
    assert said[0].startswith("SID: local. No stage's loss reaches another stage's parameters")
    assert said[1] == "Backprop: global. One loss reaches the parameters of every stage (one loss, all stages)."
    assert said[2] == "Other: not checked. The run did not record a check."


def test_locality_that_differs_between_seeds_is_said(make_run: Make) -> None:
    a, b = make_run("a"), change_manifest(make_run("b", seed=1), locality={"verdict": "global", "detail": ""})
    assert sections.locality(comparison([a, b])).sentences == ("SID: the runs differ in their verdict, local and global.",)


def test_label_noise_is_told_only_where_there_is_some(make_run: Make) -> None:
    assert sections.label_noise(comparison([make_run("clean")])) is None
    noisy = make_run("noisy", noise={"kind": "symmetric", "rate": 0.2, "measured": 0.1981})
    section = sections.label_noise(comparison([noisy]))
    assert section is not None
    assert section.sentences[0].startswith("Noise of kind symmetric: 20.0\u00a0% asked, 19.8\u00a0% of the labels")
    assert "80.2\u00a0%" in section.sentences[1]
    assert len(section.drawings) == 1


def test_nothing_evaluated_is_said_everywhere(make_run: Make) -> None:
    result = comparison([make_run(status="running")])
    assert sections.by_stage(result).sentences == sections.calibrated(result).sentences == ("No run has been evaluated.",)
    assert sections.confusions(result) == sections.minds(result) == ()
