"""Models of other libraries by name; where such a library is not there, that is said in a line."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch

from torchsid import SID, staged_cascade
from torchsid.errors import ConfigError
from torchsid.models import CLASSIFIERS

IMAGES = torch.zeros(2, 3, 32, 32)
OTHERS = {"timm": ("resnet10t", "vit_tiny_patch16_224"), "torchvision": ("resnet18", "mobilenet_v3_small")}


def importable(library: str) -> bool:
    try:
        return find_spec(library) is not None and __import__(library) is not None
    except (ImportError, RuntimeError):
        return False


@pytest.mark.parametrize(("library", "name"), [(library, name) for library, names in OTHERS.items() for name in names])
def test_a_model_by_name_is_cut_and_learns(library: str, name: str) -> None:
    if not importable(library):
        pytest.skip(f"pip install {library}")
    make: Any = CLASSIFIERS.load(f"{library}:{name}")
    model = make(torch.zeros(2, 3, 64, 64), 5)
    learner = SID(staged_cascade(model, 5, 2, torch.randn(2, 3, 64, 64), max_head_share=9.0))
    out = learner.backward(torch.randn(4, 3, 64, 64), torch.arange(4))
    assert out.belief.shape == (4, 5)


@pytest.mark.parametrize("library", OTHERS)
def test_what_is_not_there_is_said_in_a_line(library: str) -> None:
    with pytest.raises(ConfigError, match=f"trunk '?(= ')?{library}:") as told:
        CLASSIFIERS.load(f"{library}:resnet1")(IMAGES, 10)
    assert ("has no such model" if importable(library) else "install") in str(told.value)
