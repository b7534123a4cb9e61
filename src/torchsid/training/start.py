"""Where a run begins: with weights that are drawn, or with those of another run."""

from torch import nn

from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError, RunError, some_of
from torchsid.settings import path_of
from torchsid.training.checkpoint import misfits
from torchsid.training.config import RunConfig
from torchsid.training.run import LoadedNetwork, load_network


def of_start(config: RunConfig) -> LoadedNetwork | None:
    """Return the network of `training.start_from`, if it names a run.

    Raises:
        RunError: it names none, or one without a checkpoint.
    """
    try:
        return load_network(path_of(config.training.start_from)) if config.training.start_from else None
    except RunError as error:
        raise RunError(f"training.start_from: {error}") from None


def start_from(network: LoadedNetwork, module: nn.Module) -> None:
    """Copy the weights of a trained network; where only one of the two was cut into stages, those of the model without heads.

    Raises:
        ConfigError: they do not fit; names the first tensors.
    """
    theirs = network.learner.module
    if isinstance(theirs, StagedCascade) != isinstance(module, StagedCascade):
        theirs, module = (each.model if isinstance(each, StagedCascade) else each for each in (theirs, module))
    found = theirs.state_dict()
    if problems := list(misfits(found, module.state_dict())):
        raise ConfigError([f"the weights of training.start_from do not fit the network: {some_of(problems)}"])
    module.load_state_dict(found)
