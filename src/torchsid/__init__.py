"""Train PyTorch networks without a global backward pass.

Public names are loaded on first use, so that `import torchsid` and `torchsid --help` stay fast.
"""

from typing import TYPE_CHECKING

from torchsid.__about__ import __version__
from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.core.capture import CapturedStep as CapturedStep
    from torchsid.core.cascade import Cascade as Cascade
    from torchsid.core.layers import Layered as Layered
    from torchsid.core.learner import Learner as Learner
    from torchsid.core.learner import StepOutput as StepOutput
    from torchsid.core.objective import LocalObjective as LocalObjective
    from torchsid.core.shared import SharedCascade as SharedCascade
    from torchsid.core.shared import Stage as Stage
    from torchsid.core.shared import shared_cascade as shared_cascade
    from torchsid.core.staged import StagedCascade as StagedCascade
    from torchsid.cut.assemble import staged_cascade as staged_cascade
    from torchsid.learners.backprop import Backprop as Backprop
    from torchsid.learners.locality import check_locality as check_locality
    from torchsid.learners.locality import gradient_conflict as gradient_conflict
    from torchsid.learners.sid import SID as SID

_ROOMS = ("heads", "learners", "models", "show", "study", "tasks", "training")
_BEFORE = {  # as they were called before they had rooms of their own
    "beliefs": "torchsid.core.beliefs",
    "data": "torchsid.tasks.images",
    "evidence": "torchsid.study",
    "report": "torchsid.study.report",
}

__getattr__, __dir__, _LAZY = lazy_names(__name__, _BEFORE | {name: f"torchsid.{name}" for name in _ROOMS})
__all__ = ["__version__", *_LAZY]
