"""What a step costs, and no training: the experiments `timing` and `memory`.

experiment = costs.load("timing")
result = costs.run(experiment, Path("experiments/timing-small"))
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.experiments.costs.plan import Memory as Memory
    from torchsid.experiments.costs.plan import Timing as Timing
    from torchsid.experiments.costs.plan import is_cost as is_cost
    from torchsid.experiments.costs.plan import load as load
    from torchsid.experiments.costs.result import Result as Result
    from torchsid.experiments.costs.runner import run as run

_HOME = {
    "Memory": "torchsid.experiments.costs.plan",
    "Result": "torchsid.experiments.costs.result",
    "Timing": "torchsid.experiments.costs.plan",
    "is_cost": "torchsid.experiments.costs.plan",
    "load": "torchsid.experiments.costs.plan",
    "run": "torchsid.experiments.costs.runner",
}

__all__ = ["Memory", "Result", "Timing", "is_cost", "load", "run"]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
