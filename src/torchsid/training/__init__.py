"""Training by configuration: recipes, the loop, checkpoints and run directories.

Public names are loaded on first use; configurations and recipes need no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.training.config import RunConfig as RunConfig
    from torchsid.training.config import to_toml as to_toml
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

_HOME = {
    "Interrupted": "torchsid.training.interruption",
    "LoadedNetwork": "torchsid.training.run",
    "Reporter": "torchsid.training.reporter",
    "RunConfig": "torchsid.training.config",
    "RunDirectory": "torchsid.training.run",
    "load_network": "torchsid.training.run",
    "load_recipe": "torchsid.training.recipes",
    "open_run": "torchsid.training.run",
    "recipe_names": "torchsid.training.recipes:names",
    "resolve": "torchsid.training.recipes",
    "to_toml": "torchsid.training.config",
    "train": "torchsid.training.loop",
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


__getattr__, __dir__ = lazy_names(__name__, _HOME)
