import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from torchsid.errors import RunError
from torchsid.show import load_run

from .conftest import Make


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_finished_run_is_read_whole(make_run: Make) -> None:
    run = load_run(make_run("first", depth=5, epochs=12, seed=3))
    assert (run.name, run.label, run.seed, run.finished) == ("first", "SID", 3, True)
    assert [event["epoch"] for event in run.epochs] == list(range(1, 13))
    assert run.class_names == tuple("0123456789")
    assert run.best is not None
    assert run.best.test is not None
    assert run.best.epoch == 9
    assert len(run.best.test.accuracy) == len(run.best.test.kl) == 6
    assert run.best.test.correct is not None
    assert run.best.test.correct.mean() == pytest.approx(run.best.test.accuracy[-1])
    assert run.best.test.confusion.sum() == run.best.test.n
    assert list(run.best.test.kl_quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert run.samples is not None
    np.testing.assert_allclose(run.samples.beliefs.sum(axis=2), 1, rtol=1e-5)


def test_the_best_weights_are_quoted_where_validation_chose_them(make_run: Make) -> None:
    run = load_run(make_run())
    assert run.chosen is run.best


def test_the_last_weights_are_quoted_where_nothing_chose_the_best(make_run: Make) -> None:
    run = load_run(make_run(validation=False))
    assert run.chosen is run.last
    assert run.last is not run.best


def test_an_unfinished_run_has_no_scores(make_run: Make) -> None:
    run = load_run(make_run(status="interrupted"))
    assert (run.finished, run.best, run.last, run.chosen, run.samples) == (False, None, None, None, None)
    assert len(run.epochs) == 12


def test_clean_labels_are_no_noise(make_run: Make) -> None:
    assert load_run(make_run("a", noise={"kind": "none", "rate": 0.0, "measured": 0.0})).noise is None
    assert load_run(make_run("b", noise={"kind": "pair", "rate": 0.2, "measured": 0.21})).noise == {
        "kind": "pair",
        "rate": 0.2,
        "measured": 0.21,
    }


def test_training_time_falls_back_to_the_epochs(make_run: Make) -> None:
    path = make_run(epochs=5)
    assert load_run(path).train_seconds == pytest.approx(9.6 + 5 / 3)
    rewrite(path / "manifest.json", train_seconds=0.0)
    assert load_run(path).train_seconds == pytest.approx(5 * 0.8)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is not a run directory"):
        load_run(tmp_path / "nowhere")


def test_all_missing_files_are_named_at_once(make_run: Make) -> None:
    path = make_run()
    (path / "config.toml").unlink()
    (path / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"lacks config\.toml, metrics\.jsonl"):
        load_run(path)


def test_all_missing_manifest_keys_are_named_at_once(make_run: Make) -> None:
    path = make_run()
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["label"], manifest["data"]["class_names"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json lacks label, data\.class_names"):
        load_run(path)


def test_a_finished_run_without_evaluation_is_an_error(make_run: Make) -> None:
    path = make_run()
    (path / "evaluation.json").unlink()
    with pytest.raises(RunError, match=r"evaluation\.json is missing"):
        load_run(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.toml", "a = ", "is not TOML"),
        ("manifest.json", "{", "is not JSON"),
        ("manifest.json", "[]", "JSON object is needed"),
        ("evaluation.json", '{"best": {}}', "KeyError at 'epoch'"),
        ("metrics.jsonl", '{"event":\n{"event": "end"}\n', "line 1"),
        ("metrics.jsonl", "3\n", "line 1"),
        ("samples.safetensors", "no tensors here", "not a readable safetensors file"),
    ],
)
def test_damage_is_reported_with_its_place(make_run: Make, name: str, content: str, message: str) -> None:
    path = make_run()
    (path / name).write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        load_run(path)
    assert name in str(caught.value)


def test_samples_without_a_tensor_are_named(make_run: Make) -> None:
    path = make_run() / "samples.safetensors"
    tensors = load_file(path)
    save_file({"images": tensors["images"], "labels": tensors["labels"]}, path)
    with pytest.raises(RunError, match="lacks the tensor 'log_beliefs'"):
        load_run(path.parent)


def test_half_a_line_at_the_end_of_a_killed_run_is_ignored(make_run: Make) -> None:
    path = make_run(status="running")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epoch", "epo')
    assert len(load_run(path).epochs) == 12


def test_after_a_resume_the_later_line_of_an_epoch_counts(make_run: Make) -> None:
    path = make_run(status="interrupted", epochs=3)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "resume", "epoch": 3, "step": 90}\n{"event": "epoch", "epoch": 3, "train_loss": 42.0}\n')
    run = load_run(path)
    assert [event["epoch"] for event in run.epochs] == [1, 2, 3]
    assert run.epochs[-1]["train_loss"] == 42
