from tests.study.experiments.costs.samples import depth_rows, memory_rows, staged_rows

from torchsid.study.experiments.costs.memory_findings import verdict
from torchsid.study.experiments.costs.shared import CHAIN, PLAIN, STREAMING


def test_depth_that_costs_nothing() -> None:
    first, second = verdict(depth_rows({2: 1 << 20, 8: 1 << 20}))
    assert first == (
        "With the streaming schedule what a step keeps for backward does not depend on the number of stages; "
        "the reference procedure keeps 8.0 times as much at 8 stages (net)."
    )
    assert "the same at every depth with SID, streaming (1.00 MiB)" in second
    assert "growing with reference procedure (2.00 MiB to 8.00 MiB)" in second
    assert second.endswith("at 8 stages streaming keeps 0.12 of what backpropagation through the chain keeps.")


def test_depth_that_costs_something_is_said_first() -> None:
    first, second = verdict(depth_rows({2: 1 << 20, 8: 3 << 20}))
    assert first == "With the streaming schedule what a step keeps for backward changes with the depth on net."
    assert "the same at every depth with nothing" in second


def test_width() -> None:
    lines = {STREAMING: {8: 1 << 20, 16: 2 << 20}, CHAIN: {8: 2 << 20, 16: 8 << 20}, PLAIN: {8: 5, 16: 5}}
    (sentence,) = verdict(memory_rows("net", "width", lines))
    assert "growing with SID, streaming (1.00 MiB to 2.00 MiB)" in sentence
    assert "the same with BP, plain network" in sentence
    assert "streaming keeps 0.50 to 0.25" in sentence


def test_stages_against_checkpointing() -> None:
    (sentence,) = verdict(staged_rows({2: 60, 4: 45, 8: 30}, "stages"))
    assert "SID keeps 0.60 with 2 stages and 0.30 with 8, the least with 8" in sentence
    assert sentence.endswith("less than checkpointing with as many pieces at stages = 4 and 8 only.")
    (sentence,) = verdict(staged_rows({2: 60, 4: 70}, "stages"))
    assert sentence.endswith("the least with 2; nowhere less than checkpointing with as many pieces.")


def test_windows() -> None:
    (sentence,) = verdict(staged_rows({1: 40, 2: 80, 4: 120}, "window"))
    assert "0.40 at w = 1 to 1.20 at w = 4" in sentence
    assert "less than backpropagation at w = 1 and 2 only; less than checkpointing at w = 1 only." in sentence
