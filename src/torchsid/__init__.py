"""Train PyTorch networks without a global backward pass.

Public names are loaded on first use, so that `import torchsid` and `torchsid --help` stay fast.
"""

from typing import TYPE_CHECKING

from torchsid.__about__ import __version__
from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.core.cascade import Cascade as Cascade
    from torchsid.core.learner import Learner as Learner
    from torchsid.core.learner import StepOutput as StepOutput
    from torchsid.core.objective import LocalObjective as LocalObjective
    from torchsid.core.shared import SharedCascade as SharedCascade
    from torchsid.core.shared import Stage as Stage
    from torchsid.core.shared import shared_cascade as shared_cascade
    from torchsid.core.staged import StagedCascade as StagedCascade
    from torchsid.cut.assemble import staged_cascade as staged_cascade
    from torchsid.learners.backprop import Backprop as Backprop
    from torchsid.learners.conflict import gradient_conflict as gradient_conflict
    from torchsid.learners.locality import check_locality as check_locality
    from torchsid.learners.sid import SID as SID

_HOME = {
    "Backprop": "torchsid.learners.backprop",
    "Cascade": "torchsid.core.cascade",
    "Learner": "torchsid.core.learner",
    "LocalObjective": "torchsid.core.objective",
    "SID": "torchsid.learners.sid",
    "SharedCascade": "torchsid.core.shared",
    "Stage": "torchsid.core.shared",
    "StagedCascade": "torchsid.core.staged",
    "StepOutput": "torchsid.core.learner",
    "check_locality": "torchsid.learners.locality",
    "gradient_conflict": "torchsid.learners.conflict",
    "shared_cascade": "torchsid.core.shared",
    "staged_cascade": "torchsid.cut.assemble",
}
_HOME |= {name: f"torchsid.{name}" for name in ("heads", "learners", "models", "show", "study", "tasks", "training")}
_HOME |= {
    "beliefs": "torchsid.core.beliefs:",  # as they were called before they had rooms of their own
    "data": "torchsid.tasks.images:",
    "evidence": "torchsid.study:",
    "report": "torchsid.study.report:",
}

__all__ = [
    "SID",
    "Backprop",
    "Cascade",
    "Learner",
    "LocalObjective",
    "SharedCascade",
    "Stage",
    "StagedCascade",
    "StepOutput",
    "__version__",
    "check_locality",
    "gradient_conflict",
    "shared_cascade",
    "staged_cascade",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
