"""Models of the transformers and timm libraries, small and with random weights, cut at random as random networks are."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from tests.fuzz import checks
from tests.fuzz.case import NAMED, named
from tests.fuzz.models import cut, shake
from tests.fuzz.networks import BATCH, CLASSES
from torchsid.core.calling import call, logits_of

TOLERANCE = 2e-4
LARGEST = 3_000_000
"""Weights; what stays larger with the sizes below is left out."""
SIZES: Mapping[tuple[str, ...], Any] = {
    ("hidden_size", "d_model", "dim", "n_embd", "embed_dim", "embedding_size", "conv_dim", "dim_model"): 16,
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "encoder_layer_num"): 3,
    ("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"): 2,
    (
        "intermediate_size",
        "d_ff",
        "ffn_dim",
        "n_inner",
        "hidden_dim",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "moe_intermediate_size",
    ): 32,
    ("head_dim", "d_kv", "attention_head_size"): 8,
    ("vocab_size",): 60,
    ("max_position_embeddings", "n_positions"): 64,
    ("image_size",): 32,
    ("patch_size",): 4,
    ("hidden_sizes", "neck_hidden_sizes"): [8, 12, 16, 24],
    ("depths",): [1, 1, 2, 1],
    ("num_local_experts", "n_routed_experts", "num_experts"): 4,
}
TASKS = ("SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION", "IMAGE_CLASSIFICATION")


def case(random: Random, folder: Path) -> str:
    """Draw a model, cut it, and check what a cut promises; those that do not run alone in this size are counted as such."""
    task, name = random.choice(_names())
    try:
        model = _small(name)
        inputs = _inputs(task, model, random)
        model.eval()
        with torch.no_grad():
            logits = logits_of(call(model, inputs))
            part = logits_of(call(model, _each(inputs, lambda tensor, axis: tensor[:3])))
        apart = torch.allclose(part, logits[:3], atol=TOLERANCE, rtol=TOLERANCE)
        assert logits.isfinite().all()
        assert logits.shape[-1] == CLASSES
    except Exception as error:
        return f"no model of this size: {type(error).__name__}"
    before = checks.state(model)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            cascade = cut(model, inputs, random)
        checks.nothing_is_left_behind(model, before)
        shake(cascade)
        checks.answers_as_before(cascade, inputs, logits, TOLERANCE)
        if apart:
            checks.samples_are_apart(cascade, inputs, _each, random, TOLERANCE)
        if isinstance(inputs, dict) and "attention_mask" in inputs:
            pad = getattr(model.config, "pad_token_id", None) or 0
            checks.padding_counts_for_nothing(cascade, inputs, pad, told, TOLERANCE)
        checks.trains_locally(cascade, inputs, torch.randint(CLASSES, logits.shape[:-1]))
    except NAMED as error:
        return f"{task.lower()}: refused, {named(error)}"
    except BaseException as error:
        error.add_note(f"the model is {name}")
        raise
    return f"{task.lower()}: cut"


@cache
def _names() -> list[tuple[str, str]]:
    """Return the task and the name of every classifier that the libraries list."""
    automatic = import_module("transformers.models.auto.modeling_auto")
    found = [(task, str(name)) for task in TASKS for name in _classes(getattr(automatic, f"MODEL_FOR_{task}_MAPPING_NAMES"))]
    if find_spec("timm"):
        found += [("IMAGE_CLASSIFICATION", f"timm/{name}") for name in import_module("timm").list_models()]
    return found


def _classes(names: Mapping[str, Any]) -> list[str]:
    return [each for value in names.values() for each in ([value] if isinstance(value, str) else value)]


def _small(name: str) -> nn.Module:
    """Return a model with the sizes above, as far as its configuration has them."""
    if name.startswith("timm/"):
        timm = import_module("timm")
        made: nn.Module = timm.create_model(name.removeprefix("timm/"), num_classes=CLASSES)
        return made
    transformers = import_module("transformers")
    transformers.logging.set_verbosity_error()
    kind = getattr(transformers, name)
    config = kind.config_class(num_labels=CLASSES)
    sizes = {each: size for names, size in SIZES.items() for each in names if hasattr(config, each)}
    config = kind.config_class(num_labels=CLASSES, **sizes)
    for token in ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id"):
        if (getattr(config, token, None) or 0) >= 60 or token == "pad_token_id":
            setattr(config, token, 1)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} weights")
    model: nn.Module = kind(config)
    return model


def _inputs(task: str, model: nn.Module, random: Random) -> Any:
    if task == "IMAGE_CLASSIFICATION":
        size = getattr(getattr(model, "config", None), "image_size", 224)
        side = size if isinstance(size, int) else 32
        return torch.randn(BATCH, 3, side, side)
    ids = torch.randint(5, 60, (BATCH, 9))
    mask = torch.ones_like(ids)
    for row in range(1, BATCH):
        mask[row, random.randint(3, 9) :] = 0
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


def _each(inputs: Any, function: Callable[[Tensor, int], Tensor]) -> Any:
    return {key: function(x, 0) for key, x in inputs.items()} if isinstance(inputs, dict) else function(inputs, 0)
