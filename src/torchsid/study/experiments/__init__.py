"""Questions about the method that one command answers: grids of runs, equal tuning, paired seeds, one page.

`torchsid.study.experiments.costs` is for the questions that need no training: what a step costs.

Public names are loaded on first use; reading an experiment needs no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.study.experiments.experiment import Experiment as Experiment
    from torchsid.study.experiments.experiment import choose as choose
    from torchsid.study.experiments.experiment import load as load
    from torchsid.study.experiments.experiment import names as names
    from torchsid.study.experiments.results import Results as Results
    from torchsid.study.experiments.runner import run as run

__getattr__, __dir__, __all__ = lazy_names(__name__)
