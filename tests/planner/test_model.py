"""Models on paper: built as they are trained; and what fake tensors tell is what real ones show, to the byte."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.optim import SGD

from torchsid.core.peak_memory import kept_bytes
from torchsid.cut.assemble import staged_cascade
from torchsid.errors import ConfigError, unknown_name
from torchsid.heads import HEADS
from torchsid.learners.backprop import Backprop
from torchsid.learners.sid import SID
from torchsid.planner.devices import Precision
from torchsid.planner.model import ModelSpec, model_names, trace

SPECS = {
    "resnet-18": ModelSpec(name="resnet-18", classes=10, image_size=16, width=8),
    "vit-tiny": ModelSpec(name="vit-tiny", classes=10, image_size=16, width=64, depth=3),
    "mlp": ModelSpec(name="mlp", classes=10, image_size=8, width=64, depth=2),
    "gpt": ModelSpec(name="gpt", context=8, vocabulary=11, width=32, depth=3),
}
BATCH = 6
every_model = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


traced = cache(trace)  # one and the same for all that look at it


def parameters(spec: ModelSpec) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in spec.build().parameters())


def test_the_vision_transformers_have_their_published_sizes() -> None:
    published = {"small": 22_050_664, "base": 86_567_656, "large": 304_326_632, "huge": 632_045_800, "giant": 1_844_440_680}
    assert {size: parameters(ModelSpec(name=f"vit-{size}")) for size in published} == published
    assert parameters(ModelSpec(name="gpt2")) == 124_439_808 + 50257 * 768  # of a readout that is not tied


@pytest.mark.parametrize("name", model_names())
def test_its_own_sizes_change_nothing(name: str) -> None:
    spec = ModelSpec(name=name, image_size=112)
    sized = ModelSpec(name=name, image_size=112, width=spec.own("width"), depth=spec.own("depth"))
    assert parameters(sized) == parameters(spec)


def test_depth_and_width_scale_a_preset() -> None:
    small = ModelSpec(name="mlp", depth=3, width=32, image_size=8)
    block = 2 * 32 * (32 + 1) + 2 * 32
    assert parameters(ModelSpec(name="mlp", depth=5, width=32, image_size=8)) - parameters(small) == 2 * block
    assert parameters(ModelSpec(name="vit-small", width=768)) == parameters(ModelSpec(name="vit-base"))
    halved = ModelSpec(name="vit-giant", width=832, depth=1)
    assert halved.build().blocks[0].mlp.fc1.out_features == 4096  # in proportion


def batch(spec: ModelSpec) -> tuple[torch.Tensor, torch.Tensor]:
    return spec.samples.batch(BATCH)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@every_model
def test_sid_keeps_what_was_foreseen(spec: ModelSpec, precision: Precision) -> None:
    found = traced(spec, stages=3, precision=precision)
    x, target = batch(spec)
    cascade = staged_cascade(spec.build().train(), spec.samples.outcomes, 3, x[:2])
    assert cascade.plan is not None
    names = [piece.cut for piece in found.pieces]
    ends = [names.index(stage.cut) + 1 for stage in cascade.plan.stages]
    learner = SID(cascade, optimizer=SGD(cascade.parameters(), lr=0.1))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        measured = kept_bytes(cascade, lambda: learner.step(x, target))
    foreseen = max(found.kept_bytes(a, b, BATCH, local=True) for a, b in zip([0, *ends[:-1]], ends, strict=True))
    if precision == "float32":
        assert foreseen == measured
    else:  # a processor keeps the statistics of a norm in float32 where fake tensors say bfloat16
        assert 0.99 * measured <= foreseen <= measured


@every_model
def test_backpropagation_keeps_what_was_foreseen_to_the_byte(spec: ModelSpec) -> None:
    found = traced(spec, stages=3, precision="float32")
    x, target = batch(spec)
    model = spec.build().train()
    loss = (
        BATCH * spec.samples.positions * (spec.samples.outcomes * 4 + 8)
    )  # the log-probabilities and the classes, which the loss keeps
    measured = kept_bytes(model, lambda: Backprop(model).backward(x, target))
    assert 0 <= measured - found.kept_bytes(0, len(found.pieces), BATCH, local=False) <= 2 * loss + 64


def test_pieces_and_heads_are_those_of_the_real_cascade() -> None:
    spec = ModelSpec(name="simple-cnn", classes=10, image_size=8, width=16)
    found = trace(spec)
    x, _ = batch(spec)
    cascade = staged_cascade(spec.build(), spec.classes, [piece.cut for piece in found.pieces[:-1]], x[:2])
    assert cascade.plan is not None
    for foreseen, real in zip(found.pieces, cascade.plan.stages, strict=True):
        assert (foreseen.cut, foreseen.parameters, foreseen.operations) == (real.cut, real.parameters, real.operations)
        assert (foreseen.head, foreseen.head_parameters, foreseen.features) == (real.head, real.head_parameters, real.features)
    assert found.parameters == sum(parameter.numel() for parameter in cascade.model.parameters())
    many, few = (sum(piece.head_operations for piece in each.pieces) for each in (found, trace(spec, stages=2)))
    assert few > many  # fewer stages may have larger heads


def test_attention_is_counted() -> None:
    found = {piece.cut: piece.operations for piece in traced(SPECS["vit-tiny"], stages=3, precision="float32").pieces}
    tokens, width = 65, 64
    assert found["blocks.1"] == 12 * tokens * width**2 + 2 * tokens**2 * width


def test_no_weight_is_allocated() -> None:
    """A model of eight terabytes is traced: no machine that runs this could hold it."""
    before = torch.get_rng_state()
    assert trace(ModelSpec(name="mlp", width=2**20, depth=1, image_size=8, classes=10)).parameters * 4 > 2**43
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_cannot_be_built_so() -> None:
    with pytest.raises(ConfigError, match="image_size=30"):
        trace(ModelSpec(name="vit-tiny", image_size=30))


def test_a_head_that_is_named_may_cost_what_it_does() -> None:
    spec = ModelSpec(name="gpt", context=8, vocabulary=50, width=16, depth=4)
    cheap, named = trace(spec, stages=4), trace(replace(spec, head="readout"), stages=4)
    assert {piece.head for piece in named.pieces[:-1]} == {"readout"}
    assert named.readout == 50 * 16
    assert cheap.parameters == named.parameters
    assert list(replace(spec, head="raedout").problems()) == [unknown_name("head", "raedout", ("auto", *HEADS.names()))]
