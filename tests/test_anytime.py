import pytest
import torch
from torch import Tensor, nn

from tests.cut.toys import CLASSES, Chain, LongSkip, TwoTensorsCross
from tests.networks import INPUTS, small_cascade, staged_cascade
from torchsid import Cascade, SharedCascade, StagedCascade
from torchsid import staged_cascade as cut
from torchsid.anytime import EarlyExit, ExitRule
from torchsid.core.beliefs import entropy
from torchsid.errors import ConfigError, CutError

BATCH = 40


class Untraceable(Chain):
    """Looks at its data, which `torch.fx` cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return self.d(self.c(self.b(h if x.isfinite().all() else h.nan_to_num()).relu()).relu())


class SizeCrosses(Chain):
    """The batch size is read before the cuts and used behind them."""

    def forward(self, x: Tensor) -> Tensor:
        count = x.size(0)
        return self.d(self.c(self.b(self.a(x).relu()).relu()).reshape(count, 8).relu())


class Masked(Chain):
    """Takes a mask and flags, or does without."""

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0, double: bool = False, **ignored: object
    ) -> Tensor:
        if mask is None:
            mask = torch.ones_like(x)
        h = self.b(self.a(x * mask.to(x.dtype) * scale).relu()).relu()
        return self.d(self.c(2 * h if double else h).relu())


class Options(Chain):
    """Is traced as if there were a scale."""

    def forward(self, x: Tensor, scales: tuple[float | None, ...] = (None,)) -> Tensor:
        if scales[0] is not None:
            x = x * scales[0]
        return self.d(self.c(self.b(self.a(x).relu()).relu()).relu())


class TimeFirst(Chain):
    """`[B, T]` inside as `[T, B, 8]`, with T = 4."""

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x.T.unsqueeze(-1) * torch.ones(4, dtype=x.dtype)).relu()).relu()).mean(0))


class Centred(Chain):
    """Reads every sample beside the mean of all."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


def cut_in_three(model: nn.Module, by: str) -> StagedCascade:
    cascade = cut(model.double(), CLASSES, ["a", "b"], torch.randn(4, 4, dtype=torch.float64), by=by, max_head_share=1e3)
    with torch.no_grad():
        for parameter in cascade.parameters():
            parameter.normal_(std=0.7)
    return cascade.eval()


CASCADES = {
    "shared": lambda: small_cascade(3),
    "shared, features change": lambda: staged_cascade(3),
    "graph": lambda: cut_in_three(Chain(), "graph"),
    "graph, a skip crosses": lambda: cut_in_three(LongSkip(), "graph"),
    "graph, a size crosses": lambda: cut_in_three(SizeCrosses(), "graph"),
    "boundary": lambda: cut_in_three(Chain(), "boundary"),
    "boundary, cannot be traced": lambda: cut_in_three(Untraceable(), "boundary"),
    "boundary, two tensors cross": lambda: cut_in_three(TwoTensorsCross(), "boundary"),
}
WHOLE = ("graph, a size crosses", "boundary, cannot be traced", "boundary, two tensors cross")


@pytest.fixture(params=CASCADES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cascade(name: str) -> Cascade:
    return CASCADES[name]().eval()


@pytest.fixture
def x(name: str) -> Tensor:
    return 2 * torch.randn(BATCH, INPUTS if name.startswith("shared") else 4, dtype=torch.float64)


def middle(log_beliefs: Tensor) -> float:
    """A threshold at which some samples leave, and others do not."""
    return log_beliefs[1:].max(-1).values.exp().median().item()


@pytest.mark.parametrize(("rule", "stage"), [("confidence>1", 3), ("confidence>0", 1)])
def test_a_rule_that_never_or_always_holds_is_the_ordinary_inference_bit_by_bit(
    cascade: SharedCascade, x: Tensor, rule: str, stage: int
) -> None:
    answer = EarlyExit(cascade, rule)(x)
    assert torch.equal(answer.log_belief, cascade.log_beliefs(x)[stage])
    assert answer.depth.tolist() == answer.computed.tolist() == [stage] * BATCH
    assert not answer.log_belief.requires_grad


@pytest.mark.parametrize("measure", ["confidence", "entropy"])
def test_every_sample_leaves_with_its_first_sure_belief(cascade: SharedCascade, x: Tensor, measure: str) -> None:
    beliefs = cascade.log_beliefs(x)
    if measure == "confidence":
        rule = ExitRule("confidence", middle(beliefs))
        sure = beliefs.exp().amax(-1) > rule.threshold
    else:
        rule = ExitRule("entropy", entropy(beliefs[1:]).median().item())
        sure = entropy(beliefs) < rule.threshold
    answer = EarlyExit(cascade, rule)(x)
    expected = [next((i for i in (1, 2) if sure[i, n]), 3) for n in range(BATCH)]
    assert answer.depth.tolist() == expected
    assert len(set(expected)) > 1
    torch.testing.assert_close(answer.log_belief, beliefs[answer.depth, torch.arange(BATCH)], rtol=1e-12, atol=1e-12)


def test_the_work_of_later_stages_is_really_left_out(name: str, cascade: Cascade, x: Tensor) -> None:
    """Counted in rows that the heads, and in a cut trunk the last layer, have seen."""
    seen: list[int] = []
    heads = [stage.head for stage in cascade.stages] if isinstance(cascade, SharedCascade) else cascade.heads
    for head in heads:
        head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    rule = ExitRule("confidence", middle(cascade.log_beliefs(x)))
    early = EarlyExit(cascade, rule)
    seen.clear()
    answer = early(x)
    assert sum(seen) == int(answer.computed.sum())
    if name in WHOLE:
        assert seen == [BATCH] * 3
        assert early.whole_batches
    else:
        assert torch.equal(answer.computed, answer.depth)
        assert early.whole_batches == ""
        if isinstance(cascade, StagedCascade):
            rows: list[int] = []
            cascade.model.d.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
            early(x)
            assert rows == [int((answer.depth == 3).sum())]


@pytest.mark.parametrize("name", WHOLE)
def test_a_batch_that_cannot_be_divided_stops_when_all_are_sure(cascade: StagedCascade, x: Tensor) -> None:
    ran: list[int] = []
    cascade.model.c.register_forward_pre_hook(lambda module, args: ran.append(1))
    second = cascade.log_beliefs(x)[1:3].exp().amax(-1).amax(0).min().item()
    early = EarlyExit(cascade, ExitRule("confidence", 0.999 * second))
    early(x)  # sees whether batches can be divided, which takes a pass through all stages
    ran.clear()
    answer = early(x)
    assert answer.computed.tolist() == [2] * BATCH
    assert 1 <= int(answer.depth.min()) <= int(answer.depth.max()) == 2
    assert ran == []
    assert not cascade.model.a._forward_hooks


def test_a_boundary_cascade_is_left_as_it_was() -> None:
    cascade = cut_in_three(Chain(), "boundary").train()
    before, segments = {k: v.clone() for k, v in cascade.state_dict().items()}, cascade.segments
    EarlyExit(cascade, "confidence>0.5")(torch.randn(5, 4, dtype=torch.float64))
    assert cascade.segments is segments
    assert cascade.training
    assert all(torch.equal(before[key], value) for key, value in cascade.state_dict().items())


def test_arguments_that_come_and_go_are_followed() -> None:
    cascade = cut_in_three(Masked(), "boundary")
    x = torch.randn(6, 4, dtype=torch.float64)
    early, mask = EarlyExit(cascade, "confidence>1"), torch.eye(4)[torch.arange(6) % 4]
    for inputs in (x, (x, mask), (x, None), {"x": x, "mask": mask, "double": True}, {"x": x, "scale": 3.0}, {"x": x, "other": 1}):
        assert torch.equal(early(inputs).log_belief, cascade.log_beliefs(inputs)[-1])
        assert early.whole_batches == ""
    graph = cut_in_three(Masked(), "graph")
    with pytest.raises(CutError, match=r"the graph is that of mask=None, but mask is now a tensor: cut with an example"):
        EarlyExit(graph, "confidence>1")((x, mask))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Centred, "the samples of a batch are no rows of the features, or depend on each other or on chance"),
        (Options, "the pieces that torch.fx makes of Options cannot run these inputs (unsupported operand type"),
    ],
)
def test_a_graph_that_mixes_samples_or_cannot_run_leaves_the_batch_whole(model: type[Chain], why: str) -> None:
    cascade = cut_in_three(model(), "boundary")
    x = torch.randn(4, 4, dtype=torch.float64)
    early = EarlyExit(cascade, "confidence>1")
    assert torch.equal(early(x).log_belief, cascade.log_beliefs(x)[-1])
    assert early.whole_batches.startswith(why)


def test_samples_leave_a_batch_that_is_second() -> None:
    cascade = cut_in_three(TimeFirst(), "boundary")
    x = torch.randn(4, 4, dtype=torch.float64)
    log_beliefs = cascade.log_beliefs(x)
    early = EarlyExit(cascade, ExitRule("confidence", log_beliefs[1].exp().amax(-1).median().item()))
    found = early(x)
    assert early.whole_batches == ""
    assert found.computed.equal(found.depth)
    assert (found.depth == 1).any() and (found.depth > 1).any()  # noqa: PT018 - some leave
    torch.testing.assert_close(found.log_belief, log_beliefs[found.depth, range(4)])


@pytest.mark.parametrize(
    "text", ["confidence>0.95", " confidence > 1e-3 ", "confidence>0", "confidence>1", "entropy<0.1", "entropy<3"]
)
def test_rules_are_read_as_they_are_written(text: str) -> None:
    rule = ExitRule.parse(text)
    assert ExitRule.parse(str(rule)) == rule
    assert rule.measure in text
    assert rule.threshold == float(text.replace("<", ">").split(">")[1])


NO_RULES = (
    *("", "0.95", "confidence", "confidence<0.5", "entropy>1", "confidence>=0.5", "confidence>1.5", "confidence>-0.1"),
    *("entropy<-1", "confidence>high", "confidence>nan", "margin>0.5", "confidence>0.5 and entropy<1", "confidence>1e"),
)


@pytest.mark.parametrize("text", NO_RULES)
def test_a_text_that_is_no_rule_is_told_what_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is none.*confidence>0\.95.*entropy<0\.1"):
        ExitRule.parse(text)
    with pytest.raises(ConfigError, match="did you mean 'confidence'"):
        ExitRule.parse("confidense>0.9")
