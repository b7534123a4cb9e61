"""Trained networks as graphs for other runtimes: ONNX and `torch.export`, whole or one stage at a time."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.export.export import Exported as Exported
    from torchsid.export.export import export_network as export_network

__getattr__, __dir__, __all__ = lazy_names(__name__)
