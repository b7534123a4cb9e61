import pytest

from torchsid.bench.plan import BLOCKS, PipelineSettings, plan_pipelines, plan_workloads
from torchsid.cut.graph import GraphSegments
from torchsid.errors import ConfigError

TINY = {"width": 8, "batch_size": 8}
SMALL = PipelineSettings(stages=4, micro_batches=(2, 4))


def test_stages_that_cannot_be_had_are_noted() -> None:
    (workload,), (note,) = plan_workloads(["simple-cnn"], [2, 99], **TINY)
    assert workload.stages == (2,)
    assert note.startswith("simple-cnn, width 8 with 99 stages: ")
    assert "1 to 6" in note


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
    assert "vit-tiny: width=8" in text
    assert "mlp, width 8 with 99 stages" in text


def test_one_pipeline_a_model() -> None:
    workloads = plan_pipelines(["simple-cnn", "mlp", "vit-blocks", "mlp"], SMALL, batch_size=8, image_size=8)
    assert [(each.model, each.blocks, each.stages) for each in workloads] == [
        ("simple-cnn", None, (4,)),
        ("mlp", BLOCKS, (4,)),
        ("vit-blocks", BLOCKS, (4,)),
    ]
    for workload in workloads:
        cascade = workload.new_cascade(4, by="graph")
        assert isinstance(cascade.segments, GraphSegments)
        assert cascade.depth == 4


def test_all_problems_of_a_pipeline_at_once() -> None:
    settings = PipelineSettings(workers=9, stages=8, micro_batches=(1, 3, 8), rounds=1, wire="fp8")
    with pytest.raises(ConfigError) as caught:
        plan_pipelines(["resnet18"], settings, blocks=3, batch_size=8, classes=1, head="trunks")
    told = "\n".join(caught.value.problems)
    for problem in (
        *("did you mean 'resnet-18'?", "every worker needs a stage", "rounds 1", "unknown wire 'fp8'", "micro-batches 1:"),
        *("micro-batches 3:", "micro-batches 8 of a batch of 8", "splits it over 9 workers", "blocks 3", "classes 1"),
        "unknown head 'trunks'",
    ):
        assert problem in told
    assert len(caught.value.problems) == 11


@pytest.mark.parametrize(
    ("settings", "model", "problem"),
    [
        (PipelineSettings(workers=1), "mlp", "a pipeline needs 2 or more"),
        (PipelineSettings(stages=99), "simple-cnn", "simple-cnn with 99 stages"),
        (SMALL, "vit-tiny", "vit-tiny: width=3"),
    ],
)
def test_what_a_model_cannot_do_on_several_workers(settings: PipelineSettings, model: str, problem: str) -> None:
    width = 3 if model == "vit-tiny" else None
    with pytest.raises(ConfigError, match=problem):
        plan_pipelines([model], settings, width=width, image_size=8)
