"""Questions about the method that one command answers: grids of runs, equal tuning, paired seeds, one page.

`torchsid.experiments.costs` is for the questions that need no training: what a step costs.

Public names are loaded on first use; reading an experiment needs no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.experiments.plan import Experiment as Experiment
    from torchsid.experiments.plan import choose as choose
    from torchsid.experiments.plan import load as load
    from torchsid.experiments.plan import names as names
    from torchsid.experiments.result import Result as Result
    from torchsid.experiments.runner import run as run

_HOME = {
    "Experiment": "torchsid.experiments.plan",
    "Result": "torchsid.experiments.result",
    "choose": "torchsid.experiments.plan",
    "load": "torchsid.experiments.plan",
    "names": "torchsid.experiments.plan",
    "run": "torchsid.experiments.runner",
}

__all__ = ["Experiment", "Result", "choose", "load", "names", "run"]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
