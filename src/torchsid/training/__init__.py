"""Training by configuration: recipes, the loop, checkpoints and run directories.

Public names are loaded on first use; configurations and recipes need no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.training.config import RunConfig as RunConfig
    from torchsid.training.config import to_toml as to_toml
    from torchsid.training.loop import train as train
    from torchsid.training.recipes import load_recipe as load_recipe
    from torchsid.training.recipes import recipe_names as recipe_names
    from torchsid.training.recipes import resolve as resolve
    from torchsid.training.reporter import Reporter as Reporter
    from torchsid.training.run import LoadedNetwork as LoadedNetwork
    from torchsid.training.run import RunDirectory as RunDirectory
    from torchsid.training.run import load_network as load_network
    from torchsid.training.run import open_run as open_run
    from torchsid.training.session import Interrupted as Interrupted

__getattr__, __dir__, __all__ = lazy_names(__name__)
