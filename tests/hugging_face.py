"""Models of the transformers library, tiny and from a configuration, that read texts."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, CLASSES, LENGTH = 50, 5, 8
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}
_OF_LLAMA = _SIZES | {"num_key_value_heads": 1}
_OF_DISTILBERT = {"dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 16}
_OF_GPT2 = {"n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
KINDS: Mapping[str, tuple[str, str, Mapping[str, int]]] = {
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", _OF_GPT2),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", _OF_LLAMA),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _OF_LLAMA),
    "BERT": ("BertForSequenceClassification", "BertConfig", _SIZES),
    "DistilBERT": ("DistilBertForSequenceClassification", "DistilBertConfig", _OF_DISTILBERT),
    "GPT-2 classifier": ("GPT2ForSequenceClassification", "GPT2Config", _OF_GPT2),
}
_USUAL = {"vocab_size": VOCABULARY, "num_labels": CLASSES, "use_cache": False, "tie_word_embeddings": False}


def build(kind: str, **settings: Any) -> nn.Module:
    """A model of `KINDS` that keeps no keys and values, and whose embedding and readout are two."""
    transformers: Any = import_module("transformers")
    model, config, sizes = KINDS[kind]
    made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**(_USUAL | sizes | settings)))
    return made


def sentences(*lengths: int) -> dict[str, Tensor]:
    """Texts of so many tokens, filled up with 0."""
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(LENGTH) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(2, VOCABULARY, mask.shape, generator=generator) * mask, "attention_mask": mask}
