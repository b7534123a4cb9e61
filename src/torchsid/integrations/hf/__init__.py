"""Hugging Face's `Trainer` trains a model of `transformers` stage by stage; it needs `transformers` and `accelerate`."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.integrations.hf.heads import load_heads as load_heads
    from torchsid.integrations.hf.heads import save_heads as save_heads
    from torchsid.integrations.hf.trainer import SIDTrainer as SIDTrainer
    from torchsid.models.hugging_face import untie as untie

__getattr__, __dir__, __all__ = lazy_names(__name__)
