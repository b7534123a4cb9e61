"""Training by configuration: recipes, the loop, checkpoints and run directories.

Public names are loaded on first use; configurations and recipes need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchsid.training.config import RunConfig as RunConfig
    from torchsid.training.interruption import Interrupted as Interrupted
    from torchsid.training.loop import train as train
    from torchsid.training.recipes import load_recipe as load_recipe
    from torchsid.training.recipes import names as recipe_names
    from torchsid.training.recipes import resolve as resolve
    from torchsid.training.reporter import Reporter as Reporter
    from torchsid.training.run import LoadedNetwork as LoadedNetwork
    from torchsid.training.run import RunDirectory as RunDirectory
    from torchsid.training.run import load_network as load_network
    from torchsid.training.run import open_run as open_run
    from torchsid.training.toml import to_toml as to_toml

_HOME = {
    "Interrupted": ("interruption", "Interrupted"),
    "LoadedNetwork": ("run", "LoadedNetwork"),
    "Reporter": ("reporter", "Reporter"),
    "RunConfig": ("config", "RunConfig"),
    "RunDirectory": ("run", "RunDirectory"),
    "load_network": ("run", "load_network"),
    "load_recipe": ("recipes", "load_recipe"),
    "open_run": ("run", "open_run"),
    "recipe_names": ("recipes", "names"),
    "resolve": ("recipes", "resolve"),
    "to_toml": ("toml", "to_toml"),
    "train": ("loop", "train"),
}

__all__ = [
    "Interrupted",
    "LoadedNetwork",
    "Reporter",
    "RunConfig",
    "RunDirectory",
    "load_network",
    "load_recipe",
    "open_run",
    "recipe_names",
    "resolve",
    "to_toml",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'torchsid.training' has no attribute {name!r}")
    module, symbol = _HOME[name]
    return getattr(import_module(f"torchsid.training.{module}"), symbol)


def __dir__() -> list[str]:
    return sorted(__all__)
