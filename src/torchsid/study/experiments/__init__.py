"""Questions about the method that one command answers: grids of runs, equal tuning, paired seeds, one page.

`torchsid.study.experiments.costs` is for the questions that need no training: what a step costs.

Public names are loaded on first use; reading an experiment needs no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.study.experiments.plan import Experiment as Experiment
    from torchsid.study.experiments.plan import choose as choose
    from torchsid.study.experiments.plan import load as load
    from torchsid.study.experiments.plan import names as names
    from torchsid.study.experiments.result import Result as Result
    from torchsid.study.experiments.runner import run as run

_HOME = {
    "Experiment": "torchsid.study.experiments.plan",
    "Result": "torchsid.study.experiments.result",
    "choose": "torchsid.study.experiments.plan",
    "load": "torchsid.study.experiments.plan",
    "names": "torchsid.study.experiments.plan",
    "run": "torchsid.study.experiments.runner",
}

__all__ = ["Experiment", "Result", "choose", "load", "names", "run"]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
