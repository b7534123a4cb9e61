"""Models of the transformers library, tiny and from a configuration, cut as they are."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.networks import assert_same_gradients, gradients
from torchsid import SID, Backprop, StagedCascade, check_locality, staged_cascade
from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import Inputs
from torchsid.errors import CutError

from .classifiers import randomised

transformers = pytest.importorskip("transformers", reason="pip install transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.*in evaluation mode")  # the same pass twice needs it

CLASSES = 5
TARGET = torch.tensor([0, 3, 1])


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and its layers: what `output_hidden_states` shows at their ends."""

    build: Callable[[], nn.Module]
    example: Callable[[], Tensor | Mapping[str, Tensor]]
    cuts: dict[str, int]  # name of a submodule: position among the hidden states


def pictures(size: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def sentences() -> dict[str, Tensor]:
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(50, (3, 8), generator=torch.Generator().manual_seed(1)), "attention_mask": mask}


def vit() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        num_labels=CLASSES,
    )
    return transformers.ViTForImageClassification(config)


def convnext() -> nn.Module:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 2, 1], num_labels=CLASSES, image_size=32)
    return transformers.ConvNextForImageClassification(config)


def swin() -> nn.Module:
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 2, 1], num_heads=[1, 2, 4], window_size=4, num_labels=CLASSES
    )
    return transformers.SwinForImageClassification(config)


def resnet() -> nn.Module:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 2, 1], layer_type="basic", num_labels=CLASSES
    )
    return transformers.ResNetForImageClassification(config)


def bert() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=CLASSES,
    )
    return transformers.BertForSequenceClassification(config)


CASES = {
    "ViT": Case(vit, pictures(16), {"vit.layers.0": 1, "vit.layers.2": 3}),
    "ConvNeXt": Case(convnext, pictures(32), {"convnext.encoder.stages.0": 1, "convnext.encoder.stages.2": 3}),
    "Swin": Case(swin, pictures(32), {"swin.encoder.layers.0": 1, "swin.encoder.layers.1": 2}),
    "ResNet": Case(resnet, pictures(32), {"resnet.embedder": 0, "resnet.encoder.stages.1": 2}),
    "BERT": Case(bert, sentences, {"bert.encoder.layer.0": 1, "bert.encoder.layer.2": 3}),
}
every_model = pytest.mark.parametrize("name", CASES)


def cut(name: str, stages: int | tuple[str, ...], by: str = "boundary") -> tuple[StagedCascade, Inputs]:
    torch.manual_seed(0)
    x = CASES[name].example()
    cascade = staged_cascade(CASES[name].build(), CLASSES, stages, x, max_head_share=100.0, by=by)
    return randomised(cascade), x


def run(model: nn.Module, x: Inputs, *, output_hidden_states: bool = False) -> SimpleNamespace:
    given = x if isinstance(x, Mapping) else {"pixel_values": x}
    return model(**given, output_hidden_states=output_hidden_states)


@every_model
def test_it_is_cut_by_boundaries(name: str) -> None:
    cascade, x = cut(name, 3)
    kind = "thin" if name in ("ConvNeXt", "ResNet") else "linear"  # of maps, and of tokens
    assert [stage.head for stage in cascade.plan.stages] == [kind, kind, "the model's own"]
    cascade.train()
    learner = SID(cascade, alpha=0.7)
    output = learner.backward(x, TARGET)
    assert output.log_belief.shape == (3, CLASSES)
    assert [key for key, parameter in cascade.named_parameters() if parameter.grad is None] == []
    assert all(any(p.grad.any() for _, p in cascade.named_stage_parameters(stage)) for stage in range(3))
    assert str(check_locality(learner, x, TARGET)).startswith("local")


@every_model
def test_the_model_stays_what_it_was(name: str) -> None:
    torch.manual_seed(0)
    model, x = CASES[name].build().eval(), CASES[name].example()
    state, logits = copy.deepcopy(model.state_dict()), run(model, x).logits
    cascade = staged_cascade(model, CLASSES, 3, x, max_head_share=100.0)
    assert cascade.model is model
    assert not model.training
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
    assert torch.equal(run(model, x).logits, logits)
    assert torch.equal(cascade.eval()(x), logits)
    torch.testing.assert_close(cascade.log_beliefs(x)[-1], logits.log_softmax(-1))


@every_model
def test_all_stages_in_the_window_are_deep_supervision_on_the_hidden_states(name: str) -> None:
    """The independent reference: hidden states that the model itself returns, one backward pass, no hooks."""
    cascade, x = cut(name, tuple(CASES[name].cuts))
    cascade.eval()  # no dropout, the same pass twice
    SID(cascade, window=3, alpha=0.7).backward(x, TARGET)
    expected = gradients(cascade)
    cascade.zero_grad()
    output = run(cascade.model, x, output_hidden_states=True)
    features = [output.hidden_states[position] for position in CASES[name].cuts.values()]
    supervise(cascade, [*features, output.logits], x["attention_mask"] if isinstance(x, Mapping) else None)
    assert_same_gradients(cascade, expected, 1e-5)


def supervise(cascade: StagedCascade, features: list[Tensor], mask: Tensor | None) -> None:
    belief = torch.full((3, CLASSES), 1 / CLASSES)
    one_hot = nn.functional.one_hot(TARGET, CLASSES).float()
    total = torch.zeros(())
    for head, h in zip(cascade.heads, features, strict=True):
        told = {} if mask is None or h is features[-1] else {"mask": mask.bool()}
        log_p = to_log_belief(head(h, belief.log(), **told))
        wanted = 0.7 * one_hot + 0.3 * belief
        total = total - (wanted * log_p).sum(-1).mean()  # less entropies, which are constants
        belief = log_p.detach().exp()
    total.backward()


@pytest.mark.parametrize("stage", [0, 1])
@every_model
def test_a_loss_has_the_gradient_of_its_own_piece(name: str, stage: int) -> None:
    """Of loss i, end to end: SID's gradient is its part in stage i, and nothing elsewhere."""
    cascade, x = cut(name, tuple(CASES[name].cuts))
    cascade.eval()
    SID(cascade).backward(x, TARGET, scale=torch.eye(3)[stage])
    found = gradients(cascade)
    cascade.zero_grad()
    SID(cascade, window=3).backward(x, TARGET, scale=torch.eye(3)[stage])
    own = {key for key, _ in cascade.named_stage_parameters(stage)}
    for key, parameter in cascade.named_parameters():
        if key in own:
            torch.testing.assert_close(found[key], parameter.grad, atol=1e-6, rtol=1e-5)
        else:
            assert found[key] is None or not found[key].any(), key


def test_a_mapping_goes_through_every_learner() -> None:
    cascade, x = cut("BERT", 3)
    cascade.eval()
    logits = cascade.model(**x).logits
    assert torch.equal(cascade(x), logits)
    output = Backprop(cascade).backward(x, TARGET)
    torch.testing.assert_close(output.log_belief, logits.detach().log_softmax(-1))
    SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1)).step(x, TARGET)
    assert not torch.equal(cascade.model(**x).logits, logits)


@every_model
def test_the_graph_way_says_what_to_use_instead(name: str) -> None:
    with pytest.raises(CutError, match=r"cannot be traced by torch.fx: .*; use by='boundary', which runs the model as it is"):
        cut(name, 2, by="graph")
