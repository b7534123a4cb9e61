from dataclasses import replace

import pytest
import torch
from torch import nn

from torchsid.bench.comparisons import BLOCKS, PipelineSettings, plan_pipelines, plan_shared, plan_workloads
from torchsid.bench.workload import Workload, contenders
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
            ["resnet18"],
            [1, 4],
            blocks=[1],
            variants=["fp16", "bfloat16+float32"],
            device="gpu",
            head="convolution",
            batch_size=4,
            classes=1,
        )
    problems = caught.value.problems
    assert len(problems) == 8
    for fragment in (
        "'resnet18' (did you mean 'resnet-18'?)",
        "'fp16'",
        "float32 and bfloat16 exclude each other",
        "stages 1",
    ):
        assert any(fragment in problem for problem in problems)
    for fragment in ("batch size 4", "classes=1", "'convolution'", "'gpu'"):
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
        plan_pipelines(["resnet18", "vgg-11"], settings, blocks=3, batch_size=8, classes=1, head="trunks", context=9)
    told = "\n".join(caught.value.problems)
    for problem in (
        *("did you mean 'resnet-18'?", "every worker needs a stage", "rounds=1", "unknown wire 'fp8'", "micro-batches 1:"),
        *("micro-batches 3:", "micro-batches 8 of a batch of 8", "splits it over 9 workers", "classes=1"),
        *(
            "unknown head 'trunks'",
            "blocks 3: vgg-11 has a fixed number; choose from gpt, mlp, text-encoder, vit-tiny, vit-blocks",
        ),
        "context 9: of networks for text and language, not of vgg-11",
    ):
        assert problem in told
    assert len(caught.value.problems) == 12


@pytest.mark.parametrize(
    ("settings", "model", "problem"),
    [
        (PipelineSettings(workers=1), "mlp", "workers=1: allowed is int, at least 2"),
        (PipelineSettings(stages=99), "simple-cnn", "simple-cnn with 99 stages"),
        (SMALL, "vit-tiny", "vit-tiny: width=3"),
        (SMALL, "text-encoder", "text-encoder: a mask of its tokens"),
    ],
)
def test_what_a_model_cannot_do_on_several_workers(settings: PipelineSettings, model: str, problem: str) -> None:
    sizes = {"width": 3 if model == "vit-tiny" else None, **({} if model == "text-encoder" else {"image_size": 8})}
    with pytest.raises(ConfigError, match=problem):
        plan_pipelines([model], settings, **sizes)


MLP = Workload(model="mlp", stages=(2, 4, 8), width=32, batch_size=8, image_size=4)


def test_a_classifier_is_trained_in_the_usual_ways_and_by_sid_in_every_number_of_stages() -> None:
    found = {each.name: each.stages for each in contenders(MLP)}
    sid = {"sid-2": 2, "sid-4": 4, "sid-8": 8}
    assert found == {"backprop": 1, "checkpointing": 8, "accumulation": 1, "deep supervision": 4, **sid}
    assert "deep supervision" not in [each.name for each in contenders(replace(MLP, stages=(8,)))]


SIMPLE = Workload(model="simple-cnn", stages=(2,), width=8, batch_size=8, image_size=8)


def test_a_cascade_has_the_weights_of_the_model() -> None:
    cascade = SIMPLE.new_cascade(2)
    assert cascade.depth == 2
    assert all(torch.equal(value, cascade.model.state_dict()[name]) for name, value in SIMPLE.new_model().state_dict().items())


@pytest.mark.parametrize(("model", "task"), [("gpt", "language"), ("text-encoder", "text")])
def test_a_network_reads_tokens(model: str, task: str) -> None:
    sizes = {"blocks": 3, "width": 8, "batch_size": 8, "context": 5, "vocabulary": 11}
    workload = Workload(model=model, stages=(2,), **sizes)
    x, target = workload.batch()
    assert (x.shape, x.dtype, int(x.max())) == ((8, 5), torch.int64, 10)
    if task == "language":
        assert torch.equal(x[:, 1:], target[:, :-1])
    assert (workload.samples.task, workload.samples.sample_bytes) == (task, 5 * 8)
    cascade = workload.new_cascade(2)
    assert cascade(x).shape == (*target.shape, workload.samples.outcomes)
    (with_blocks,), _ = plan_workloads([model], blocks=[3], **{name: size for name, size in sizes.items() if name != "blocks"})
    assert with_blocks.stages == (3,)


def test_blocks_are_stages() -> None:
    workload = Workload(model="mlp", stages=(5,), blocks=5, width=32, batch_size=8, image_size=4)
    plan = workload.new_cascade(5).plan
    assert plan is not None
    assert [stage.cut for stage in plan.stages] == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", ""]
    assert workload.title == "mlp, 5 blocks, width 32"


@pytest.mark.parametrize("variant", ["float32", "bfloat16", "channels-last", "compiled", "bfloat16+channels-last"])
def test_variants_do_what_they_are_called(variant: str) -> None:
    workload = replace(SIMPLE, variant=variant)
    x, _ = workload.batch()
    cascade = workload.new_cascade(2)
    weight = cascade.model.get_parameter("extractor.2.weight")
    assert x.is_contiguous(memory_format=torch.channels_last) == ("channels-last" in variant)
    assert weight.is_contiguous(memory_format=torch.channels_last) == ("channels-last" in variant)
    assert isinstance(cascade.segments, GraphSegments) == (variant == "compiled")
    with workload.arithmetic():
        assert (cascade(x).dtype == torch.bfloat16) == ("bfloat16" in variant)
    assert weight.dtype == torch.float32
    assert workload.title == ("simple-cnn, width 8" if variant == "float32" else f"simple-cnn, width 8, {variant}")


@pytest.mark.filterwarnings("ignore:one of 2 stages has")  # so small an MLP is nearly all stem
def test_a_variant_has_its_options_once_and_in_one_order() -> None:
    variants = ["channels-last+bfloat16", "float32", "bfloat16+channels-last", "float32+channels-last", "float32+float32"]
    workloads, _ = plan_workloads(["mlp"], [2], variants=variants, **TINY)
    assert [each.variant for each in workloads] == ["bfloat16+channels-last", "float32", "channels-last"]
    assert [each.variant for each in plan_shared([2], variants=variants)] == [each.variant for each in workloads]


def test_what_the_shared_cascade_and_a_processor_cannot_do() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_shared([2], variants=["bfloat16+compiled", "captured"], device="cpu")
    compiled, captured = sorted(caught.value.problems)
    assert "variant bfloat16+compiled: the shared cascade is not compiled" in compiled
    assert "variant captured: a step is captured as a CUDA graph; use device cuda" in captured


def test_a_shared_cascade_and_its_plain_counterpart_begin_alike() -> None:
    workload = Workload(model="shared", stages=(3,), extractor="simple-cnn", width=16, batch_size=8, image_size=8)
    cascade, again, plain = workload.new_cascade(3), workload.new_cascade(3), workload.new_model()
    assert all(map(torch.equal, cascade.parameters(), again.parameters()))
    assert cascade.depth == 3
    assert isinstance(plain, nn.Sequential)
    assert len(plain) == 2
    for one, other in zip(cascade.extractor.parameters(), plain[0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert workload.title == "simple-cnn extractor, L = 3, width 16"
