import json
from dataclasses import asdict

import pytest

from torchsid.bench.pipeline.plan import BLOCKS, Settings, plan_pipelines
from torchsid.cut.graph import GraphSegments
from torchsid.errors import ConfigError

SMALL = Settings(stages=4, micro_batches=(2, 4))


def test_one_workload_a_model() -> None:
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


def test_json_and_back() -> None:
    assert Settings.from_json(json.loads(json.dumps(asdict(SMALL)))) == SMALL


def test_the_pipeline_is_full_for_most_of_a_turn() -> None:
    assert [Settings(workers=workers).steps_a_turn for workers in (2, 4)] == [6, 12]


def test_all_problems_at_once() -> None:
    settings = Settings(workers=9, stages=8, micro_batches=(1, 3, 8), rounds=1, wire="fp8")
    with pytest.raises(ConfigError) as caught:
        plan_pipelines(["resnet18"], settings, blocks=3, batch_size=8, classes=1, head="trunks")
    told = "\n".join(caught.value.problems)
    for problem in (
        "did you mean 'resnet-18'?",
        "every worker needs a stage",
        "rounds 1",
        "unknown wire 'fp8'",
        "micro-batches 1:",
        "micro-batches 3:",
        "micro-batches 8 of a batch of 8",
        "splits it over 9 workers",
        "blocks 3",
        "classes 1",
        "unknown head 'trunks'",
    ):
        assert problem in told
    assert len(caught.value.problems) == 11


@pytest.mark.parametrize(
    ("settings", "model", "problem"),
    [
        (Settings(workers=1), "mlp", "a pipeline needs 2 or more"),
        (Settings(stages=99), "simple-cnn", "simple-cnn with 99 stages"),
        (SMALL, "vit-tiny", "vit-tiny: width=3"),
    ],
)
def test_what_a_model_cannot_do(settings: Settings, model: str, problem: str) -> None:
    width = 3 if model == "vit-tiny" else None
    with pytest.raises(ConfigError, match=problem):
        plan_pipelines([model], settings, width=width, image_size=8)
