from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from torchsid.core.calling import call, logits_of


class Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x if y is None else x + 10 * y


ONE, TWO = torch.ones(3, 2), torch.full((3, 2), 2.0)


@pytest.mark.parametrize(
    ("x", "expected"),
    [(ONE, 1.0), ((ONE,), 1.0), ((ONE, TWO), 21.0), ({"x": ONE}, 1.0), ({"y": ONE, "x": TWO}, 12.0)],
    ids=["tensor", "tuple", "tuple of two", "mapping", "mapping of two"],
)
def test_inputs_go_to_the_model_as_they_are_meant(x: object, expected: float) -> None:
    assert torch.equal(call(Add(), x), torch.full((3, 2), expected))


def test_a_mapping_need_not_be_a_dict() -> None:
    assert torch.equal(call(Add(), UserDict(x=ONE, y=TWO)), ONE + 10 * TWO)


Pair = namedtuple("Pair", "loss logits")


@dataclass
class Answer:
    loss: Tensor
    scores: Tensor


@pytest.mark.parametrize(
    "output",
    [
        ONE,
        SimpleNamespace(logits=ONE, loss=TWO),
        (ONE, TWO),
        [ONE],
        Pair(torch.zeros(()), ONE),
        (None, torch.zeros(()), ONE, TWO),
        {"loss": None, "logits": ONE, "hidden": TWO},
        {"loss": torch.zeros(()), "scores": ONE},
        UserDict(logits=(ONE, TWO)),
        Answer(torch.zeros(()), ONE),
    ],
    ids=lambda output: type(output).__name__,
)
def test_the_logits_are_found(output: object) -> None:
    assert logits_of(output) is ONE


@pytest.mark.parametrize(
    ("output", "named"),
    [
        (None, "NoneType"),
        ((), "tuple"),
        ({"out": ONE, "aux": TWO}, "dict with out, aux"),
        ({"loss": torch.zeros(())}, "dict with loss"),
        ({"logits": None}, "NoneType"),
        (Answer(ONE, TWO), "Answer with loss, scores"),
        ((torch.zeros(3), None), "tuple with 0, 1"),
        (torch.zeros(3), r"Tensor of shape \[3\]"),
    ],
)
def test_what_is_no_classifiers_output_is_refused(output: object, named: str) -> None:
    with pytest.raises(ValueError, match=rf"the model returns {named}; a classifier returns logits \[B, ..., C\], as.*or wrap it"):
        logits_of(output)


def test_fused_layers_are_off_for_the_time_of_a_call() -> None:
    seen = []
    module = Add()
    module.register_forward_hook(lambda *_: seen.append(torch.backends.mha.get_fastpath_enabled()))
    call(module, ONE)
    module(ONE)
    assert seen == [False, True]


def test_a_named_tuple_is_one_input() -> None:
    packed = nn.utils.rnn.pack_sequence([ONE, ONE[:2]])
    output, _ = call(nn.LSTM(2, 4), packed)
    assert output.batch_sizes.tolist() == [2, 2, 1]
