import pytest

from torchsid.bench.plan import plan_workloads
from torchsid.errors import ConfigError

TINY = {"width": 8, "batch_size": 8}


def test_a_workload_for_every_model_and_variant() -> None:
    planned, notes = plan_workloads(["mlp", "simple-cnn"], [4, 2, 2], variants=["float32", "bfloat16"], **TINY)
    assert [workload.title for workload in planned] == ["mlp", "mlp, bfloat16", "simple-cnn", "simple-cnn, bfloat16"]
    assert all(workload.stages == (2, 4) for workload in planned)
    assert notes == []


def test_stages_that_cannot_be_had_are_noted() -> None:
    (workload,), (note,) = plan_workloads(["simple-cnn"], [2, 99], **TINY)
    assert workload.stages == (2,)
    assert note.startswith("simple-cnn with 99 stages: ")
    assert "1 to 6" in note


def test_by_default_two_to_twelve_stages() -> None:
    (workload,), notes = plan_workloads(["mlp"], **TINY)
    assert workload.stages == (2, 4, 8)
    assert [note.split(":")[0] for note in notes] == ["mlp with 12 stages"]


def test_as_many_stages_as_blocks() -> None:
    planned, _ = plan_workloads(["mlp"], blocks=[3, 9], **TINY)
    assert [(workload.blocks, workload.stages) for workload in planned] == [(3, (3,)), (9, (9,))]


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_workloads(
            ["resnet18"], [1, 4], blocks=[1], variants=["fp16"], device="gpu", head="convolution", batch_size=4, classes=1
        )
    problems = caught.value.problems
    assert len(problems) == 10
    for fragment in (
        "'resnet18' (did you mean 'resnet-18'?)",
        "'fp16'",
        "stages 1",
        "blocks: only",
        "blocks 1",
        "leave the stages",
    ):
        assert any(fragment in problem for problem in problems)
    for fragment in ("batch size 4", "classes 1", "'convolution'", "'gpu'"):
        assert any(fragment in problem for problem in problems)


def test_a_model_that_cannot_be_measured_at_all_is_a_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_workloads(["vgg-11", "vit-tiny", "mlp"], [99], image_size=12, batch_size=8, width=8)
    text = str(caught.value)
    assert "vgg-11: image_size=12 must be 32 or more" in text
    assert "vit-tiny: image_size=12" in text
    assert "vit-tiny: width=8" in text
    assert "mlp with 99 stages" in text
