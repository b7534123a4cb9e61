"""A passage reads as a text, line by line, with what every stage expected below it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.study.fake import maker

from torchsid.errors import RunError
from torchsid.show.page import Page, Section
from torchsid.study.passage import passage_tables
from torchsid.study.runs import Passage, load_run
from torchsid.tasks import Samples
from torchsid.training.evaluation import PASSAGE, passage_to_show

WORDS = ["to", " be", "\n", "or"]


def test_lines_are_as_long_as_a_page_is_wide_and_what_is_right_is_marked() -> None:
    target = torch.arange(60) % 4
    guess = torch.stack([target, torch.zeros_like(target), target])
    given = torch.full((3, 60), 0.25).log()
    tables = passage_tables("a run", Passage(target, guess, given, given), WORDS.__getitem__)
    assert [table.caption for table in tables] == ["a run"] + [""] * (len(tables) - 1)
    assert sum((table.columns[1:] for table in tables), ()) == ("to", "␣be", "⏎", "or") * 15
    first, last = tables[0].rows
    assert [cell.value for cell in first[:5]] == ["stage 1", "to", "to", "to", "to"]
    assert [cell.mark for cell in first[1:5]] == ["✓", "", "", ""]
    assert {(cell.mark, cell.detail, cell.shade) for cell in last[1:]} == {("✓", "25", 0.25)}
    assert 'style="--shade: 15%"' in Page("a", "b", [Section("passage", "c", "d", tables)]).html()


def test_what_is_kept_is_the_end_of_a_window_in_the_middle_and_no_more_of_its_beliefs() -> None:
    torch.manual_seed(0)
    log_beliefs = torch.randn(3, 5, PASSAGE + 9, 7).log_softmax(-1)
    target = torch.randint(7, (5, PASSAGE + 9))
    target[2, -2:] = -100
    data = Samples(torch.arange(5), target)
    found = passage_to_show(lambda rows: log_beliefs[:, rows], data, prepare=lambda inputs: inputs)
    believed, place = log_beliefs[:, 2, 7 : PASSAGE + 7], torch.arange(PASSAGE)
    assert torch.equal(found["target"], target[2, 7:-2])
    assert torch.equal(found["guess"], believed.argmax(-1))
    assert torch.equal(found["log_guess"], believed.max(-1).values)
    assert torch.equal(found["log_target"], believed[:, place, found["target"]])


def test_a_damaged_passage_is_named(tmp_path: Path) -> None:
    run = load_run(maker(tmp_path)("run"))
    assert run.passage() is None
    file, row = run.path / "passage.safetensors", torch.zeros(2, 5)
    save_file({"target": torch.zeros(5), "guess": row, "log_guess": row[:, :4].clone(), "log_target": row + 1}, file)
    with pytest.raises(RunError, match="do not belong together"):
        run.passage()
    save_file({"target": row}, file)
    with pytest.raises(RunError, match="it holds target"):
        run.passage()
