"""Models of other libraries of images as trunks, by name: `trunk = "timm:resnet50"` and `trunk = "torchvision:resnet50"`."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from torch import Tensor, nn

from torchsid.errors import ConfigError, did_you_mean


@cache
def timm(name: str) -> Callable[..., nn.Module]:
    """Return what makes a trunk of a model of timm, for images of any channels and, where the model can be told, of any size.

    Raises:
        ConfigError: there is no such model, or the library cannot be imported.
    """
    library = _library("timm")
    _known("timm", name, library.list_models())

    def of_timm(example: Tensor, num_classes: int, *, pretrained: bool = False) -> nn.Module:
        """Return a model.

        Args:
            example: Images.
            num_classes: C.
            pretrained: Whether it begins with the weights that timm downloads.
        """
        create = partial(library.create_model, name, pretrained=pretrained, num_classes=num_classes, in_chans=example.shape[1])
        try:
            return _module(create(img_size=example.shape[-1]))
        except TypeError:  # as of a convolutional network, which takes any
            return _module(create())

    return of_timm


@cache
def torchvision(name: str) -> Callable[..., nn.Module]:
    """Return what makes a trunk of a classifier of torchvision, with weights at random, for images in colour.

    Raises:
        ConfigError: there is no such model, or the library cannot be imported.
    """
    library = _library("torchvision.models")
    _known("torchvision", name, library.list_models(module=library))

    def of_torchvision(example: Tensor, num_classes: int) -> nn.Module:
        if example.shape[1] != 3:
            raise ValueError(f"torchvision's {name} reads images of 3 channels, these have {example.shape[1]}: take timm:{name}")
        return _module(library.get_model(name, weights=None, num_classes=num_classes))

    return of_torchvision


def _module(model: object) -> nn.Module:
    assert isinstance(model, nn.Module)
    return model


def _known(library: str, name: str, allowed: Iterable[str]) -> None:
    if name not in (names := list(allowed)):
        problem = f"trunk '{library}:{name}': {library} has no such model{did_you_mean(name, names)}"
        raise ConfigError([problem], source="name")


def _library(name: str) -> ModuleType:
    """Return a library; it fails in several ways where it does not fit the installed PyTorch."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(
            [f"trunk = '{package}:...' needs the package {package!r}: pip install {package}"], source="name"
        ) from None
    except RuntimeError as error:
        why = (
            f"{package} cannot be imported ({str(error).splitlines()[0]}): install the release that fits PyTorch {version('torch')}"
        )
        raise ConfigError([f"trunk = '{package}:...': {why}"], source="name") from None
