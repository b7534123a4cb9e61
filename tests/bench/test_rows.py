from torchsid.bench.contenders import Entry
from torchsid.bench.rows import MemoryRow, StepRow, head_cost, identity, over
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", stages=(3,), blocks=3, width=32, batch_size=8, image_size=4)


def test_a_row_that_was_not_measured_has_its_name_and_a_note() -> None:
    about = identity(MLP, Entry("sid", 3))
    for row in (MemoryRow(**about, note="why"), StepRow(**about, note="why")):
        assert (row.model, row.blocks, row.variant, row.contender, row.stages) == ("mlp", 3, "float32", "sid-3", 3)
        assert row.kept_bytes is None
        assert row.note == "why"


def test_what_heads_cost() -> None:
    cascade = MLP.new_cascade(3)
    assert head_cost(None) == {"head_parameters": 0, "head_share": 0.0}
    assert head_cost(cascade.plan)["head_parameters"] == sum(value.numel() for value in cascade.heads.parameters())
    assert head_cost(cascade.plan)["head_share"] > 0


def test_over_what_is_missing_is_missing() -> None:
    assert over(1.0, 4.0) == 0.25
    assert over(None, 4.0) is over(1.0, None) is over(1.0, 0.0) is None
