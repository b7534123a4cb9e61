"""What a step costs, and no training: the experiments `timing` and `memory`.

experiment = costs.load("timing")
result = costs.run(experiment, Path("experiments/timing-small"))
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.study.experiments.costs.plan import Memory as Memory
    from torchsid.study.experiments.costs.plan import Timing as Timing
    from torchsid.study.experiments.costs.plan import is_cost as is_cost
    from torchsid.study.experiments.costs.plan import load as load
    from torchsid.study.experiments.costs.result import Result as Result
    from torchsid.study.experiments.costs.runner import run as run

_HOME = {
    "Memory": "torchsid.study.experiments.costs.plan",
    "Result": "torchsid.study.experiments.costs.result",
    "Timing": "torchsid.study.experiments.costs.plan",
    "is_cost": "torchsid.study.experiments.costs.plan",
    "load": "torchsid.study.experiments.costs.plan",
    "run": "torchsid.study.experiments.costs.runner",
}

__all__ = ["Memory", "Result", "Timing", "is_cost", "load", "run"]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
