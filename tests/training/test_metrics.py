from pathlib import Path

import pytest

from torchsid.errors import RunError
from torchsid.training.metrics import MetricsLog, read_metrics


def test_lines_are_readable_at_once_and_cut_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        assert log.write("start", epoch=1) == {"event": "start", "epoch": 1}
        size = log.sync()
        log.write("epoch", epoch=1, train_loss=0.1 + 0.2)
        assert read_metrics(path)[-1]["train_loss"] == 0.1 + 0.2
    with MetricsLog(path, size=size) as log:
        log.write("resume", epoch=1)
    assert [record["event"] for record in read_metrics(path)] == ["start", "resume"]


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="shorter"):
        MetricsLog(tmp_path / "metrics.jsonl", size=10)


def test_a_cut_last_line_is_left_out_and_any_other_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "start"}\n{"event": "ep')
    assert read_metrics(path) == [{"event": "start"}]
    path.write_text('{"event": "st\n{"event": "end"}\n')
    with pytest.raises(RunError, match="line 1"):
        read_metrics(path)
    with pytest.raises(RunError, match="cannot read"):
        read_metrics(tmp_path / "absent.jsonl")
