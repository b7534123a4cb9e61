"""Models of the transformers library, tiny and from a configuration, cut as they are."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests import hugging_face
from tests.networks import assert_same_gradients, gradients
from torchsid import SID, Backprop, StagedCascade, check_locality, staged_cascade
from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import Inputs
from torchsid.errors import CutError

from .classifiers import randomised

transformers = pytest.importorskip("transformers", reason="pip install transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.*in evaluation mode")  # the same pass twice needs it

CLASSES = hugging_face.CLASSES
TARGET = torch.tensor([0, 3, 1])


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and its layers: what `output_hidden_states` shows at their ends."""

    build: Callable[[], nn.Module]
    example: Callable[[], Tensor | Mapping[str, Tensor]]
    cuts: dict[str, int]  # name of a submodule: position among the hidden states


def pictures(size: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


sentences = partial(hugging_face.sentences, 8, 5, 8)


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


CASES = {
    "ViT": Case(vit, pictures(16), {"vit.layers.0": 1, "vit.layers.2": 3}),
    "ConvNeXt": Case(convnext, pictures(32), {"convnext.encoder.stages.0": 1, "convnext.encoder.stages.2": 3}),
    "Swin": Case(swin, pictures(32), {"swin.encoder.layers.0": 1, "swin.encoder.layers.1": 2}),
    "ResNet": Case(resnet, pictures(32), {"resnet.embedder": 0, "resnet.encoder.stages.1": 2}),
    "BERT": Case(partial(hugging_face.build, "BERT"), sentences, {"bert.encoder.layer.0": 1, "bert.encoder.layer.2": 3}),
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


CAUSAL = ("GPT-2", "Llama", "Qwen2")
CLASSIFIERS = ("DistilBERT", "GPT-2 classifier")
FORMS = ("as it is", "checkpointed", "LoRA", "first layers frozen", "int8 with adapters")


class Int8(nn.Module):
    """A linear layer of whole numbers that are never trained, and an adapter that is."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.register_buffer("scale", weight.abs().amax(1, keepdim=True) / 127)
        self.register_buffer("weight", (weight / self.scale).round().to(torch.int8))
        self.down, self.up = (nn.Linear(a, b, bias=False) for a, b in ((weight.shape[1], 2), (2, len(weight))))

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.up(self.down(x))
        return adapted + nn.functional.linear(x, self.weight * self.scale)


def in_form(model: nn.Module, form: str) -> nn.Module:
    if form == "checkpointed":
        model.activation_checkpointing_enable()
    if form == "LoRA":
        peft = pytest.importorskip("peft", reason="pip install peft")
        return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    if form == "first layers frozen":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not any(part in name for part in ("embed", "wte", "wpe", "layers.0", "h.0")))
    if form == "int8 with adapters":
        model.requires_grad_(False)
        layers = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear) and "head" not in name]
        for name, layer in layers:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, Int8(layer))
    return model


def shifted(x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Labels as the library takes them, and the token after each as a stage does."""
    labels = x["input_ids"].masked_fill(x["attention_mask"] == 0, -100)
    return labels, nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft's own
@pytest.mark.parametrize(("kind", "form"), [*((kind, "as it is") for kind in CAUSAL), *(("Llama", form) for form in FORMS[1:])])
def test_the_last_stage_of_a_causal_model_has_the_gradient_of_its_own_loss(kind: str, form: str) -> None:
    torch.manual_seed(0)
    model, x = in_form(hugging_face.build(kind), form), sentences()
    labels, target = shifted(x)
    cascade = staged_cascade(model, hugging_face.VOCABULARY, 3, x, max_head_share=100.0)
    assert cascade.positions == "tokens"
    assert str(check_locality(SID(cascade), x, target)).startswith("local")
    cascade.zero_grad()
    cascade.eval()  # no dropout
    output = SID(cascade, window=3).backward(x, target, scale=torch.tensor([0.0, 0.0, 1.0]))
    found = gradients(cascade)
    cascade.zero_grad()
    expected = model(**x, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(output.stage_losses[-1], expected.detach())
    for name, parameter in cascade.model.named_parameters(prefix="model"):
        if parameter.requires_grad:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_other_classifiers_of_texts_are_cut(kind: str) -> None:
    torch.manual_seed(0)
    model, x = hugging_face.build(kind), sentences()
    cascade = randomised(staged_cascade(model, CLASSES, 3, x, max_head_share=100.0)).eval()
    assert torch.equal(cascade(x), model(**x).logits)
    padded = {name: nn.functional.pad(value, (0, 3)) for name, value in x.items()}
    torch.testing.assert_close(cascade.log_beliefs(padded), cascade.log_beliefs(x))
    assert str(check_locality(SID(cascade), x, TARGET)).startswith("local")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_heads_have_the_precision_of_what_they_read(dtype: torch.dtype) -> None:
    model, x = hugging_face.build("Llama").to(dtype), sentences()
    cascade = staged_cascade(model, hugging_face.VOCABULARY, 3, x, max_head_share=100.0)
    assert {parameter.dtype for parameter in cascade.parameters()} == {dtype}
    output = SID(cascade).backward(x, shifted(x)[1])
    assert output.log_belief.dtype == torch.float32
    assert output.stage_losses.isfinite().all()


def test_what_is_in_the_way_of_stages_is_said() -> None:
    x, cut_in_two = sentences(), partial(staged_cascade, num_classes=hugging_face.VOCABULARY, stages=2, max_head_share=100.0)
    with pytest.raises(CutError, match=r"embed_tokens.weight, which is lm_head.weight as well, .*: untie them, "):
        cut_in_two(hugging_face.build("Llama", tie_word_embeddings=True), example=x)
    with pytest.warns(UserWarning, match=r"returns past_key_values.*: set model.config.use_cache = False"):
        cut_in_two(hugging_face.build("Llama", use_cache=True), example=x)
