"""The settings of the methods for wrong labels. Nothing here imports torch."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Weight = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class RobustConfig:
    """What the literature tunes of the methods for wrong labels. A setting bears the name of its method and rests under others."""

    soft_bootstrap_beta: Weight = 0.95
    """Weight β of the label; the rest is the network's own belief."""
    hard_bootstrap_beta: Weight = 0.8
    """Weight β of the label; the rest is the network's own answer."""
    self_distillation_alpha: Weight = 0.8
    """Weight α_T, in the last epoch, of the network's prediction one epoch before; it rises from 0 in a line."""
    gce_q: Annotated[float, Field(gt=0, le=1)] = 0.7
    """q: the cross-entropy towards 0, the mean absolute error at 1."""
    sce_alpha: NotNegative = 0.1
    """Weight α of the cross-entropy; 6 for CIFAR-100 in the paper."""
    sce_beta: NotNegative = 1.0
    """Weight β of the reverse cross-entropy; 0.1 for CIFAR-100 in the paper."""
    elr_lambda: NotNegative = 3.0
    """Strength λ of the regularisation; 7 for CIFAR-100 in the paper."""
    elr_beta: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """How much β of a sample's average prediction is kept at every visit; 0.9 for CIFAR-100 in the paper."""
