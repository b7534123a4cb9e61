import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.study.fake import Make

from torchsid.errors import RunError
from torchsid.study.frame import METRICS
from torchsid.study.runs import load_run, names_of_classes


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_finished_run_is_read_whole(make_run: Make) -> None:
    run = load_run(make_run("first", depth=5, epochs=12, seed=3))
    assert (run.name, run.label, run.seed) == ("first", "SID", 3)
    assert [event["epoch"] for event in run.epochs] == list(range(1, 13))
    scores = run.scores["best", "test"]
    assert (scores.split, set(scores.by_stage)) == ("test", {"accuracy", "kl", "ece", "agreement"})
    assert {len(values) for values in scores.by_stage.values()} == {6}
    assert scores.correct is not None
    assert scores.correct.mean() == pytest.approx(scores.last("accuracy"))
    assert scores.confusion.sum() == scores.n
    assert list(scores.kl_quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    samples = run.samples()
    assert samples is not None
    np.testing.assert_allclose(samples[1].exp().sum(-1), 1, rtol=1e-5)
    assert samples[1].shape[:2] == (6, len(samples[0]))


def test_weights_that_validation_chose_are_quoted_and_else_the_last_ones(make_run: Make) -> None:
    chosen, not_chosen = load_run(make_run("a")), load_run(make_run("b", validation=False))
    assert chosen.held_out() is chosen.scores["best", "test"]
    assert not_chosen.held_out() is not_chosen.scores["last", "test"]


def test_an_unfinished_run_has_no_scores(make_run: Make) -> None:
    run = load_run(make_run(status="interrupted"))
    assert (run.scores, run.held_out(), run.samples(), len(run.epochs)) == ({}, None, None, 12)


def test_throughput_is_the_median_over_epochs(make_run: Make) -> None:
    run = load_run(make_run(epochs=4))
    assert METRICS["throughput"].of(run) == pytest.approx(np.median([epoch["samples_per_second"] for epoch in run.epochs]))


def test_clean_labels_are_no_noise(make_run: Make) -> None:
    assert load_run(make_run("a", noise={"kind": "none", "rate": 0.0, "measured": 0.0})).noise_share == 0
    assert load_run(make_run("b", noise={"kind": "pair", "rate": 0.2, "measured": 0.21})).noise_share == 0.21


def test_classes_without_names_have_numbers(make_run: Make) -> None:
    path = make_run()
    assert names_of_classes(load_run(path), 10) == list("0123456789")
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["data"]["class_names"]
    rewrite(path / "manifest.json", data=manifest["data"])
    assert names_of_classes(load_run(path), 3) == ["0", "1", "2"]


def test_training_time_falls_back_to_the_epochs(make_run: Make) -> None:
    path = make_run(epochs=5)
    assert METRICS["seconds"].of(load_run(path)) == pytest.approx(9.6 + 5 / 3)
    rewrite(path / "manifest.json", train_seconds=0.0)
    assert METRICS["seconds"].of(load_run(path)) == pytest.approx(5 * 0.8)


def test_all_that_is_missing_is_named_at_once(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is no directory"):
        load_run(tmp_path / "nowhere")
    path = make_run()
    (path / "config.toml").unlink()
    (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"config\.toml and manifest\.json missing"):
        load_run(path)
    path = make_run("other")
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["label"], manifest["data"]["name"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json lacks label, data\.name"):
        load_run(path)


def test_a_finished_run_without_evaluation_is_an_error(make_run: Make) -> None:
    path = make_run()
    (path / "evaluation.json").unlink()
    with pytest.raises(RunError, match=r"evaluation\.json does not exist"):
        load_run(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.toml", "a = ", "is not valid TOML"),
        ("manifest.json", "{", "cannot read"),
        ("manifest.json", "[]", "no JSON object"),
        ("evaluation.json", '{"best": {"a": 1}}', "is incomplete or damaged"),
        ("metrics.jsonl", '{"event":\n{"event": "end"}\n', "line 1"),
        ("metrics.jsonl", '{"event": "epoch", "epoch": "3"}\n', "line 1 is damaged: epoch"),
        ("metrics.jsonl", '{"event": "epoch", "epoch": 1, "validation": {"accuracy": [], "kl": [1]}}\n', "validation.accuracy"),
        ("metrics.jsonl", '{"event": "epoch", "epoch": 1, "train_accuracy": 0.5}\n', "train_accuracy"),
        ("metrics.jsonl", '{"event": "start"}\n' + 9999 * "[" + "\n", "line 2"),
        ("manifest.json", 100_000 * "[", "cannot read"),
        ("config.toml", 5000 * "[", "is not valid TOML"),
        ("evaluation.json", '{"best": {"test": {"kl": [1], "n": 1e999}}}', "incomplete or damaged"),
        ("evaluation.json", '{"best": {"test": [3]}}', "incomplete or damaged"),
        ("samples.safetensors", "no tensors here", "samples.safetensors is damaged"),
        ("names.json", 100_000 * "[", "names.json is damaged"),
    ],
)
def test_damage_is_reported_with_its_place(make_run: Make, name: str, content: str, message: str) -> None:
    path = make_run()
    (path / name).write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        load_run(path).samples()
    assert name in str(caught.value)


@pytest.mark.parametrize(("name", "shape"), [("log_beliefs", (6, 2, 10)), ("inputs", ()), ("target", (3,))])
def test_samples_that_do_not_belong_together_are_named(make_run: Make, name: str, shape: tuple[int, ...]) -> None:
    path = make_run() / "samples.safetensors"
    save_file({**load_file(path), name: np.zeros(shape, dtype=np.float32)}, path)
    with pytest.raises(RunError, match="do not belong together"):
        load_run(path.parent).samples()


def test_a_sample_of_a_class_that_is_not_there_is_named(make_run: Make) -> None:
    path = make_run() / "samples.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "target": np.full_like(tensors["target"], 99)}, path)
    with pytest.raises(RunError, match="target holds class 99"):
        load_run(path.parent).samples()


def test_samples_without_a_tensor_are_named(make_run: Make) -> None:
    path = make_run() / "samples.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "target"}, path)
    with pytest.raises(RunError, match="KeyError at"):
        load_run(path.parent).samples()


def test_half_a_line_of_a_killed_run_is_ignored_and_after_a_resume_the_later_line_counts(make_run: Make) -> None:
    path = make_run(status="running", epochs=3)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "resume", "epoch": 3, "step": 90}\n{"event": "epoch", "epoch": 3, "train_loss": 42.0}\n{"event": "ep')
    run = load_run(path)
    assert [event["epoch"] for event in run.epochs] == [1, 2, 3]
    assert run.epochs[-1]["train_loss"] == 42
