"""What a model of `transformers` is to its stages: its outcomes, and what its labels mean."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.calling import call
from torchsid.core.side_effects import without_side_effects
from torchsid.core.weighting import IGNORED
from torchsid.errors import CutError, TargetError

Batch = Mapping[str, Any]

_LABELS = ("labels", "shift_labels")


def problems_of(model: nn.Module) -> Iterator[str]:
    """Yield why a model of `transformers` cannot be trained in stages, as far as its configuration tells."""
    parts: Any = model
    config = getattr(model, "config", None)
    if not hasattr(model, "save_pretrained") or config is None:
        yield f"{type(model).__name__} is no model of transformers: give one, such as AutoModelForCausalLM.from_pretrained(...)"
        return
    if getattr(config, "is_encoder_decoder", False):
        yield "a model of an encoder and a decoder answers at other tokens than its first stages read: give a model of one of both"
    if (kind := getattr(config, "problem_type", None)) not in (None, "single_label_classification"):
        yield f"config.problem_type = {kind!r}: a stage believes in one of several outcomes, 'single_label_classification'"
    elif getattr(config, "num_labels", 2) == 1 and "Classification" in type(model).__name__:
        yield "config.num_labels = 1 is regression: a belief needs 2 outcomes or more"
    readout = parts.get_output_embeddings()
    if readout is not None and readout.weight is parts.get_input_embeddings().weight and readout.weight.requires_grad:
        why = "the readout's weights are the embedding's, which the first stage would own and the last train"
        yield f"{why}: give it a copy, torchsid.integrations.hf.untie(model), or freeze them"


def outcomes(model: nn.Module, inputs: Batch) -> int:
    """Return C, the size of the model's answers.

    Raises:
        CutError: it returns no logits.
    """
    with torch.no_grad(), without_side_effects(model):
        output = call(model.eval(), inputs)
    logits = output.get("logits") if isinstance(output, Mapping) else None
    if not isinstance(logits, Tensor):
        names = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        advice = "take the class for the task, such as AutoModelForCausalLM or AutoModelForSequenceClassification"
        raise CutError(f"{type(model).__name__} returns {type(output).__name__}{names} and no logits: {advice}")
    return logits.shape[-1]


def without_labels(batch: Batch) -> dict[str, Any]:
    """Return what the model itself reads."""
    return {name: value for name, value in batch.items() if name not in _LABELS}


def target_of(model: nn.Module, batch: Batch) -> Tensor:
    """Return the outcome at each position, `[B]` or `[B, T]`; of a causal model the next token, −100 behind the last.

    Raises:
        TargetError: there are no labels, or they are no classes.
    """
    labels = next((batch[name] for name in reversed(_LABELS) if isinstance(batch.get(name), Tensor)), None)
    if labels is None:
        advice = (
            "a data set has a column 'labels', or the collator makes them, DataCollatorForLanguageModeling(tokenizer, mlm=False)"
        )
        raise TargetError(f"the batch has {', '.join(batch) or 'nothing'} and no labels, which every stage learns from: {advice}")
    if labels.is_floating_point():
        raise TargetError(f"labels of {labels.dtype} are numbers, or answers of yes and no: a stage learns classes, int64")
    inner: Any = model
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        inner = inner.get_base_model()
    shifted = "shift_labels" in batch or getattr(inner, "loss_type", None) != "ForCausalLM"
    return labels if shifted else F.pad(labels, (0, 1), value=IGNORED)[..., 1:]
