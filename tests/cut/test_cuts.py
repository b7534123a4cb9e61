import itertools

import pytest
import torch
from torch import Tensor, nn

from torchsid.core.axes import Axes
from torchsid.cut.cuts import candidates, choose, later_layers, lopsided, named
from torchsid.cut.graph import GraphSegments
from torchsid.cut.profile import Profile, profile
from torchsid.errors import CutError

from .classifiers import classifier, images
from .toys import Chain, ControlFlow, LongSkip, SharedReLU, Tied, TiedModule, X

EXPECTED = {
    "simple-cnn": "extractor.1 extractor.4 extractor.6 extractor.11 extractor",
    "mlp": "stem blocks.0 blocks.1 blocks.2 blocks.3 blocks.4 blocks.5 blocks.6 norm",
    "resnet-18": "relu layer1.0 layer1 layer2.0 layer2 layer3.0 layer3 layer4.0 flatten",
    "resnet-18-imagenet": "maxpool layer1.0 layer1 layer2.0 layer2 layer3.0 layer3 layer4.0 flatten",
    "resnet-50": "maxpool layer1.0 layer1.1 layer1 layer2.0 layer2.1 layer2.2 layer2 "
    "layer3.0 layer3.1 layer3.2 layer3.3 layer3.4 layer3 layer4.0 layer4.1 flatten",
    "vgg-11": "features.3 features.7 features.10 features.14 features.17 features.21 features.24 flatten",
    "vit with dropout": "pos_drop blocks.0 blocks.1 blocks.2 norm",
}


def usual(_: object) -> Axes:
    return Axes()


def of(name: str) -> Profile:
    return profile(classifier(name), images(name)[0])


@pytest.mark.parametrize("name", EXPECTED)
def test_the_candidates_lie_between_weights_behind_activation_and_pooling(name: str) -> None:
    found = candidates(of(name))
    assert " ".join(point.name for point in found[:-1]) == EXPECTED[name]
    assert found[-1].name == ""


def test_every_candidate_can_be_named() -> None:
    found = of("resnet-18")
    points = [point.name for point in candidates(found)[:-1]]
    assert [end.name for end in named(found, tuple(points), carries_skips=False)] == [*points, ""]


@pytest.mark.parametrize("name", ["mlp", "resnet-18", "vgg-11"])
@pytest.mark.parametrize("balance", ["memory", "work", "equal"])
def test_no_other_choice_is_better_balanced(balance: str, name: str) -> None:
    found = of(name)
    points = candidates(found)

    def heaviest(ends: tuple[int, ...]) -> float:
        """Of groups of candidates, by their positions."""
        costs = []
        for a, b in itertools.pairwise((-1, *ends)):
            start, end = points[a].index if a >= 0 else -1, points[b].index
            assert found.parameters(start, end)
            costs.append({"memory": found.kept_bytes, "work": found.operations}.get(balance, lambda *_: 0)(start, end) or b - a)
        return max(costs)

    last = len(points) - 1
    chosen = choose(found, 3, balance)
    assert chosen[-1] is points[-1]
    possible = [heaviest((*ends, last)) for ends in itertools.combinations(range(last), 2)]
    assert heaviest(tuple(points.index(end) for end in chosen)) == min(possible)
    assert min(possible) < max(possible)


def test_the_balances_differ() -> None:
    found = of("resnet-18")
    cuts = {balance: tuple(end.name for end in choose(found, 3, balance)) for balance in ("memory", "work", "equal")}
    assert cuts["memory"] != cuts["work"]
    assert cuts["equal"] != cuts["memory"]


def test_as_many_stages_as_asked() -> None:
    found = of("mlp")
    assert [len(choose(found, stages, "memory")) for stages in (1, 2, 9)] == [1, 2, 9]


def test_a_large_readout_is_no_stage_by_itself_unless_asked_for() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(4)), nn.Linear(4, 1000))
    found = profile(model, torch.zeros(2, 4))
    assert [end.name for end in choose(found, 2, "work")] == ["2", ""]
    assert [end.name for end in choose(found, 5, "work")] == ["0", "1", "2", "3", ""]


def test_two_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(CutError, match=r"unknown balance 'memry' \(did you mean 'memory'\?\).*; stages=0: this model can be cut"):
        choose(of("mlp"), 0, "memry")  # type: ignore[arg-type]


def test_a_module_that_runs_twice_is_no_candidate() -> None:
    assert [point.name for point in candidates(profile(SharedReLU(), X))] == ["a", "b", "c", ""]


def test_nothing_but_the_output_crosses_a_candidate() -> None:
    found = profile(LongSkip(), X)
    assert {point.name: found.crossing(point) for point in candidates(found)[:-1]} == {"a": []}
    assert {exit_.name: found.crossing(exit_) for exit_ in found.exits}["b"] == ["ReluBackward0"]


@pytest.mark.parametrize("model", [Tied(), TiedModule()], ids=lambda model: type(model).__name__)
def test_candidates_keep_tied_parameters_together(model: Chain) -> None:
    assert "b" not in [point.name for point in candidates(profile(model, X))]


class Constant(Chain):
    """What `b` returns is no function of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.b.register_forward_hook(lambda module, args, output: torch.ones_like(output).detach())


REFUSED = {
    "no gradient": (Constant, ("b",), "cut 'b' returns no tensor that has a gradient"),
    "an unknown name": (Chain, ("zz",), "cut 'zz' is no submodule that the model runs;"),
    "a name nearly right": (
        "resnet-18",
        ("layr2",),
        r"cut 'layr2' is no submodule that the model runs \(did you mean 'layer2'\?\)",
    ),
    "two unknown names": ("resnet-18", ("layr2", "foo"), r"'layer2'\?\); cut 'foo' is no submodule"),
    "out of order": (Chain, ("b", "a"), "the cuts b, a are not in the order in which the model runs them"),
    "twice the same": (Chain, ("a", "a"), "the cuts a, a are not in the order"),
    "a module that runs often": (SharedReLU, ("relu",), "cut 'relu' runs 3 times"),
    "a stage without parameters": (
        "resnet-18",
        ("layer4", "flatten"),
        "the stage that ends after 'flatten' has no parameter to train: leave a cut out",
    ),
    "nothing left for the last": ("resnet-18", ("fc",), "the last stage has no parameter to train: leave a cut out"),
    "a skip connection": (
        LongSkip,
        ("b",),
        r"cut 'b': ReluBackward0 crosses beside its output \(a skip connection\); use by='graph'",
    ),
    "a block's inside": ("resnet-18", ("layer2.0.bn1",), r"cut 'layer2.0.bn1': the output of 'layer1' crosses beside its output"),
    "a tied parameter": (
        Tied,
        ("b",),
        "cut 'b': the parameter b.weight, which is c.weight as well, is used on both sides",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cut_that_cannot_be_is_explained(case: str) -> None:
    model, cuts, message = REFUSED[case]
    found = of(model) if isinstance(model, str) else profile(model(), X)
    with pytest.raises(CutError, match=message + ".*this model can be cut after "):
        named(found, cuts, carries_skips=False)


def test_a_carried_skip_is_no_obstacle_but_a_tied_parameter_is() -> None:
    assert [end.name for end in named(profile(LongSkip(), X), ("b",), carries_skips=True)] == ["b", ""]
    with pytest.raises(CutError, match=r"the parameter b.weight, which is c.weight as well, is used on both sides"):
        named(profile(Tied(), X), ("b",), carries_skips=True)


class UShaped(nn.Module):
    """An encoder, a decoder, and a skip past most of the work."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.inner, self.up = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(32, 16)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        down = self.down(x).relu()
        inner = self.inner(self.middle(down).relu()).relu()
        return self.out(self.up(torch.cat([down, inner], -1)).relu())


class Folded(nn.Module):
    """Looks at every sample three times, as three samples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x.repeat(3, 1)).relu()).relu().unflatten(0, (3, -1)).mean(0))


def test_a_lopsided_plan_says_so_and_names_cuts_that_even_it_out() -> None:
    chain, u_shaped = profile(nn.Sequential(*(nn.Linear(4, 4) for _ in range(5))), X), profile(UShaped(), X)
    assert lopsided(chain, choose(chain, 2, "work"), list) == ""
    assert lopsided(chain, named(chain, ("3",), carries_skips=False), list) == (
        "one of 2 stages has 80% of the work; 60% with stages=['1'], by='boundary'"
    )
    assert lopsided(u_shaped, choose(u_shaped, 2, "work"), list) == (
        "one of 2 stages has 95% of the work; 51% with stages=['inner'], by='graph'"
    )
    untraceable = lopsided(u_shaped, choose(u_shaped, 2, "work"), lambda names: GraphSegments(ControlFlow(), names))
    assert untraceable == "one of 2 stages has 95% of the work, and no cuts even it out; this model can be cut after down, up"
    wide = profile(nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 99), nn.AdaptiveAvgPool1d(9), nn.Linear(9, 5)), X)
    assert lopsided(wide, choose(wide, 2, "work"), list).endswith("no cuts even it out; this model can be cut after 0, 2")


@pytest.mark.parametrize(
    ("model", "way_out"),
    [
        (UShaped(), r"after down, up; elsewhere skip connections cross, .*: stages=\['middle', 'inner', 'up'\]"),
        (Tied(), r"after a, c; elsewhere the parameter b.weight, which is c.weight as well, is used on both sides: untie them"),
        (TiedModule(), "elsewhere the parameter b.weight is used on both sides: give each use a copy of its own"),
        (Folded(), r"after nothing; elsewhere no axis of \[\d+, 8\] has the \d+ samples of the example"),
        (nn.Sequential(Chain().requires_grad_(False), nn.Linear(5, 5)), r"after nothing; what is frozen \(requires_grad=False\)"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_more_stages_than_there_are_is_told_with_the_way_out(model: nn.Module, way_out: str) -> None:
    found = profile(model, X)
    with pytest.raises(CutError, match=way_out):
        choose(found, len(candidates(found)) + 1, "work")


# What follows a cut


@pytest.mark.parametrize("name", ["mlp", "resnet-18", "vgg-11", "simple-cnn"])
def test_the_layers_lead_from_one_candidate_to_the_next(name: str) -> None:
    model, (x, _) = classifier(name), images(name)
    found = profile(model, x)
    points = candidates(found)
    model.eval()
    for k, point in enumerate(points[:-2]):
        pieces = later_layers(model, found, points, point, usual)
        assert len(pieces) == len(points) - 2 - k, point.name
        seen = {}
        handles = [
            model.get_submodule(end.name).register_forward_hook(lambda _, __, out, n=end.name, to=seen: to.update({n: out}))
            for end in points[:-1]
        ]
        model(x)
        for handle in handles:
            handle.remove()
        h = seen[point.name]
        for piece, end in zip(pieces, points[k + 1 :], strict=False):
            h = piece(h)
            torch.testing.assert_close(h, seen[end.name])
        assert all(any(part is own for own in model.modules()) for piece in pieces for part in piece.children())


def test_they_end_before_what_is_no_chain() -> None:
    model = LongSkip()
    found = profile(model, X)
    points = candidates(found)
    assert later_layers(model, found, points, points[0], usual) == []


def test_they_are_the_same_for_a_cut_by_an_inner_name() -> None:
    model, (x, _) = classifier("resnet-18"), images("resnet-18")
    found = profile(model, x)
    inner, outer = named(found, ("layer2.1",), carries_skips=False)[0], named(found, ("layer2",), carries_skips=False)[0]
    pieces = [later_layers(model, found, candidates(found), cut, usual) for cut in (inner, outer)]
    first, second = ([list(map(id, piece.parameters())) for piece in each] for each in pieces)
    assert first == second != []
