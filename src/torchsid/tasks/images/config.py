"""The settings of label noise and of augmentation."""

from typing import Literal, Self

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from torchsid.settings import CountOrZero, NotNegative, Weight

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NoiseConfig:
    """Wrong labels in the training set, to see how a method copes; the test set keeps its own."""

    kind: Literal["none", "symmetric", "asymmetric", "pair", "column"] = "none"
    """A label becomes any other (`symmetric`), the one it is mistaken for (`asymmetric`), the next (`pair`), or what
    people said (`column`)."""
    rate: Weight = 0.0
    """Probability that a label is changed; not used by `column`."""
    seed: int = 0
    """Chooses which labels change, whatever the seed of the training."""
    column: str = ""
    """For `column`: the column of labels, such as `worse_label` of CIFAR-10N."""
    file: str = ""
    """For `column`: the Parquet file, relative to `data.path`; empty is `cifar10n-labels.parquet` for CIFAR-10."""

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        problems = []
        if self.kind == "column" and not self.column:
            problems.append("noise.kind = 'column' needs noise.column, such as 'worse_label'")
        if self.kind in ("none", "column") and self.rate:
            problems.append(f"noise.rate = {self.rate} has no effect with noise.kind = {self.kind!r}")
        if self.kind != "column" and (self.column or self.file):
            problems.append(f"noise.column and noise.file have no effect with noise.kind = {self.kind!r}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AugmentConfig:
    """What is done to the images of a training batch; everything is off but normalisation."""

    crop: CountOrZero = 0
    """Random crop: pixels of black padding on each side, 4 for CIFAR."""
    flip: bool = False
    """Mirror every second image left to right, on average."""
    cutout: CountOrZero = 0
    """Side of a square painted in the mean colour, in pixels."""
    mixup: NotNegative = 0.0
    """α of the Beta(α, α) that two images and their labels are blended with; 0 is off."""
    cutmix: NotNegative = 0.0
    """α of the Beta(α, α) for the area pasted from another image; 0 is off. With mixup as well, each batch gets one."""
    normalise: bool = True
    """Subtract the mean and divide by the standard deviation of the training set, per channel."""
