"""Which axis of features is what: of models with the batch second, channels last, in the middle, or folded."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from torchsid import SID, heads, staged_cascade
from torchsid.anytime import EarlyExit
from torchsid.core.axes import Axes, arranged
from torchsid.errors import CutError, HeadError

CLASSES = 5


class Recurrent(nn.Module):
    """Tokens `[B, T]` or, with `second`, `[T, B]`; features `[T, B, D]`."""

    def __init__(self, kind: type[nn.Module] = nn.GRU, second: bool = False, packed: bool = False) -> None:
        super().__init__()
        self.second, self.packed = second, packed
        self.embed, self.rnn, self.out = nn.Embedding(20, 12), kind(12, 12), nn.Linear(12, CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embed(tokens if self.second else tokens.T)
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        made = self.rnn(x)[0]
        made = nn.utils.rnn.pad_packed_sequence(made)[0] if self.packed else made
        return self.out(made.mean(0))


class Transformer(nn.Module):
    """PyTorch's own layers, batch second as they are by default."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 8), nn.Linear(8, CLASSES)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0) for _ in range(2)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.layers(self.embed(tokens).transpose(0, 1))[0])


@pytest.mark.parametrize("tokens", [4, 6])  # as many as samples, or more
@pytest.mark.parametrize(("model", "cut"), [(Recurrent, "rnn"), (Transformer, "layers.0")])
def test_the_batch_may_be_second_and_samples_never_mix(model: type[nn.Module], cut: str, tokens: int) -> None:
    torch.manual_seed(0)
    x = torch.randint(20, (4, tokens))
    cascade = staged_cascade(model(), CLASSES, [cut], x, max_head_share=99.0).eval()
    assert cascade.axes[0] == Axes(batch=1)
    other = x.clone()
    other[2] = torch.randint(20, (tokens,))
    moved = (cascade.log_beliefs(x) - cascade.log_beliefs(other)).abs().amax(-1)
    assert [row.nonzero().flatten().tolist() for row in moved] == [[], [2], [2]]
    SID(cascade).backward(x[:3], torch.arange(3))


def test_inputs_may_have_the_batch_second() -> None:
    x = torch.randint(20, (5, 5))
    for by in ("boundary", "graph"):
        cascade = staged_cascade(Recurrent(second=True), CLASSES, ["embed"], x, max_head_share=99.0, by=by).eval()
        assert (cascade.axes[0], list(cascade.rows.axes.values())) == (Axes(batch=1), [1])
        assert SID(cascade).backward(x[:, :2], torch.arange(2)).log_belief.shape == (2, CLASSES)
        early = EarlyExit(cascade, "entropy<1.609")
        found = early(x)
        torch.testing.assert_close(found.log_belief, cascade.log_beliefs(x)[found.depth, range(5)])


def test_packed_and_folded_features_are_no_place_to_cut() -> None:
    x = (torch.randint(20, (4, 6)), torch.tensor([6, 2, 3, 1]))
    model = Recurrent(nn.LSTM, packed=True)
    with pytest.raises(CutError, match=r"cut 'rnn': no axis of \[12, 12\] has the 4 samples .*; this model can be cut after embed"):
        staged_cascade(model, CLASSES, ["rnn"], x, max_head_share=99.0)
    inside = [nn.Flatten(0, 1), nn.Linear(6, 6), nn.ReLU(), nn.Unflatten(0, (-1, 3))]
    folded = nn.Sequential(*inside, nn.Flatten(), nn.Linear(18, CLASSES))
    with pytest.raises(CutError, match="no axis"):
        staged_cascade(folded, CLASSES, ["2"], torch.randn(4, 3, 6), max_head_share=99.0)
    assert staged_cascade(folded, CLASSES, 2, torch.randn(4, 3, 6), max_head_share=99.0).plan.stages[0].cut == "4"


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.hidden, self.out = nn.EmbeddingBag(20, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.out(self.hidden(self.bag(tokens, offsets)).relu())


class Graphs(nn.Module):
    """Nodes `[N, D]`, edges `[2, E]`, and which graph a node belongs to, `[N]`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        h = self.a(nodes).relu()
        h = h.index_add(0, edges[1], h[edges[0]])
        pooled = h.new_zeros(int(graph.max()) + 1, 8).index_add(0, graph, h)
        return self.c(self.b(pooled).relu())


INPUTS = {
    "offsets": (Bags, (torch.randint(20, (9,)), torch.tensor([0, 2, 7]))),
    "graphs": (Graphs, (torch.randn(7, 4), torch.randint(7, (2, 6)), torch.tensor([0, 0, 1, 1, 1, 2, 2]))),
}


@pytest.mark.filterwarnings("ignore:one of 2 stages")
@pytest.mark.parametrize("name", INPUTS)
def test_the_batch_is_as_large_as_the_logits(name: str) -> None:
    model, x = INPUTS[name]
    SID(staged_cascade(model(), CLASSES, 2, x, max_head_share=99.0)).backward(x, torch.arange(3))
    with pytest.raises(ValueError, match=r"targets are for a batch of shape \[7\]"):
        SID(staged_cascade(model(), CLASSES, 2, x, max_head_share=99.0)).backward(x, torch.zeros(7, dtype=torch.long))


# Channels


class Turned(nn.Module):
    """Turns its input, runs `inside`, and turns back."""

    def __init__(self, inside: nn.Module, back: bool = True) -> None:
        super().__init__()
        self.inside, self.back = inside, back

    def forward(self, x: Tensor) -> Tensor:
        made = self.inside(x.movedim(1, -1))
        return made.movedim(-1, 1) if self.back else made


def classifier(*layers: nn.Module, width: int = 16) -> nn.Module:
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).mean(1, keepdim=True).expand(-1, width)

    return nn.Sequential(*layers, Pool(), nn.Linear(width, CLASSES))


mixing = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU())
CHANNELS = {
    "time last": (nn.Conv1d(3, 6, 3, padding=1), (3, 20), 6),
    "time last, batch norm and activation": (nn.Sequential(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.SiLU()), (3, 20), 6),
    "maps": (nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU()), (3, 9, 8), 6),
    "maps, channels last": (Turned(nn.Sequential(nn.Linear(3, 6), mixing), back=False), (3, 9, 8), 6),
    "maps, mixed channels last and turned back": (Turned(nn.Sequential(nn.Linear(3, 6), mixing)), (3, 9, 8), 6),
    "volumes": (nn.Sequential(nn.Conv3d(3, 6, 2), nn.ReLU()), (3, 5, 4, 3), 6),
    "volumes, channels last": (Turned(nn.Linear(3, 6), back=False), (3, 5, 4, 3), 6),
    "tokens": (nn.Sequential(nn.Linear(20, 6), nn.LayerNorm(6), nn.Dropout(0.1)), (3, 20), 6),
    "patches": (nn.Sequential(nn.Conv2d(3, 6, 2, 2), nn.Flatten(2)), (3, 8, 8), 6),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_the_modules_around_a_cut_say_where_the_channels_are(name: str) -> None:
    torch.manual_seed(0)
    layer, shape, width = CHANNELS[name]
    model, x = classifier(copy.deepcopy(layer)), torch.randn(2, *shape)
    cascade = staged_cascade(model, CLASSES, ["0"], x, head="linear", max_head_share=99.0)
    assert cascade.heads[0].output.in_features == width + CLASSES
    larger = torch.randn(3, shape[0], *(size + 4 for size in shape[1:])) if name != "tokens" else torch.randn(3, 7, 20)
    assert cascade.log_beliefs(larger).shape == (3, 3, CLASSES)


def test_what_reads_the_features_says_so_too() -> None:
    """Nothing tells how the input was made; the next layer reads it as `[B, T, D]`, or as `[B, D, T]`."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    x = torch.randn(2, 6, 4)
    for reader, channels in ((nn.Linear(4, 8), None), (nn.Conv1d(6, 8, 1), 1)):
        assert staged_cascade(classifier(Scale(), reader), CLASSES, ["0"], x, max_head_share=99.0).axes[0].channels == channels
    with pytest.warns(UserWarning, match=r"behind '0' do not tell|around '0' do not tell which axis of \[2, 6, 4\]"):
        undecided = staged_cascade(classifier(Scale()), CLASSES, ["0"], x, max_head_share=99.0)
    assert undecided.heads[0].output.in_features == 4 + CLASSES
    said = staged_cascade(classifier(Scale()), CLASSES, ["0"], x, max_head_share=99.0, channels=1)
    assert said.heads[0].output.in_features == 6 + CLASSES
    with pytest.raises(CutError, match="channels=0 is no axis of channels"):
        staged_cascade(classifier(Scale()), CLASSES, ["0"], x, channels=0)


@pytest.mark.parametrize("head", ["thin", "trunk", "conv", "attention"])
def test_heads_on_maps_with_channels_last_are_those_on_maps(head: str) -> None:
    """The same network both ways round: heads have the same shapes, and follow the same later layers."""
    first = classifier(nn.Conv2d(3, 8, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 16, 1))

    class ChannelsLast(nn.Module):
        def __init__(self, convolution: nn.Module) -> None:
            super().__init__()
            self.convolution = convolution

        def forward(self, x: Tensor) -> Tensor:
            return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    last = nn.Sequential(*(ChannelsLast(layer) if isinstance(layer, nn.Conv2d) else layer for layer in first))
    x = torch.randn(2, 3, 16, 16)
    shapes = []
    for model, example in ((first, x), (last, x.permute(0, 2, 3, 1))):
        torch.manual_seed(0)
        cascade = staged_cascade(model, CLASSES, ["1"], example, head=head, max_head_share=99.0).eval()
        nn.init.normal_(cascade.heads[0].output.weight, generator=torch.Generator().manual_seed(1))
        shapes.append(([each.shape for each in cascade.heads.parameters()], cascade.log_beliefs(example)[1]))
    assert shapes[0][0] == shapes[1][0]
    torch.testing.assert_close(shapes[0][1], shapes[1][1])


def test_every_permutation_is_arranged_and_a_wrong_axis_refused() -> None:
    x = torch.randn(2, 3, 4, 5)
    for channels in (1, 2, 3, -1):
        assert arranged(x.movedim(1, channels), channels).equal(x)
    for batch, channels in itertools.product(range(4), (1, 2, 3)):
        axes = Axes(batch, channels)
        made = axes.restored(x)
        assert axes.arranged(made).equal(x)
    with pytest.raises(HeadError, match=r"channels=4 is no axis of maps \[B, 3, 4, 5\] behind the batch"):
        heads.create("linear", x, CLASSES, channels=4)


# Precision, device, and maps of one pixel


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


def test_heads_have_the_precision_of_the_features_they_read_and_follow_a_cast() -> None:
    layers = [nn.Linear(6, 8), nn.ReLU(), Cast(torch.float64), nn.Linear(8, 8).double(), nn.ReLU(), Cast(torch.float32)]
    model, x = nn.Sequential(*layers, nn.Linear(8, CLASSES)), torch.randn(4, 6)
    cascade = staged_cascade(model, CLASSES, ["1", "4"], x, max_head_share=99.0)
    assert [head.output.weight.dtype for head in cascade.heads[:-1]] == [torch.float32, torch.float64]
    SID(cascade).backward(x, torch.arange(4))
    plain = staged_cascade(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES)), CLASSES, 2, x, max_head_share=99.0)
    plain.model.double()
    SID(plain).backward(x.double(), torch.arange(4))
    assert plain.double().log_beliefs(x.double()).dtype == torch.float64
    plain.model.to("meta")
    with pytest.raises(HeadError, match="the features are on meta, their head on cpu: move the cascade"):
        plain.log_beliefs(x.double().to("meta"))


@pytest.mark.parametrize("head", ["auto", "conv", "thin", "pyramid"])
def test_one_image_of_one_pixel_trains(head: str) -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 16, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, CLASSES))
    cascade = staged_cascade(model, CLASSES, ["3"], torch.randn(2, 3, 8, 8), head=head, max_head_share=99.0)
    SID(cascade).backward(torch.randn(1, 3, 8, 8), torch.zeros(1, dtype=torch.long))
    assert cascade.plan.stages[0].head == ("linear" if head == "auto" else head)
