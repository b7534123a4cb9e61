"""The data sets known by name. Plain strings, so that listing them imports nothing."""

from torchsid.errors import unknown_name

DESCRIPTIONS: dict[str, str] = {
    "cifar10": "CIFAR-10: 32x32 colour photographs, 10 classes; Parquet or the official Python archive",
    "cifar100": "CIFAR-100: 32x32 colour photographs, 100 classes; Parquet or the official Python archive",
    "digits": "1,797 scans of handwritten digits, 8x8 grey, 10 classes; part of the package",
    "fashion-mnist": "Fashion-MNIST: 28x28 grey pictures of clothes, 10 classes; IDX files",
    "folder": "your own images: PATH/train/<class>/*.png and, if there is one, PATH/test/<class>/*.png",
    "mnist": "MNIST: 28x28 grey handwritten digits, 10 classes; Parquet or IDX files",
    "tiny-imagenet": "Tiny-ImageNet: 64x64 colour photographs, 200 classes; Parquet",
}
"""One line for each name."""

HUB_PREFIX = "hub:"
"""`hub:OWNER/NAME` is a data set of the Hugging Face hub; needs the extra `torchsid[hub]`."""


def names() -> tuple[str, ...]:
    """Return the names that `DataConfig.name` accepts, besides `hub:OWNER/NAME`."""
    return tuple(sorted(DESCRIPTIONS))


def problem_with(name: str) -> str:
    """Return what is wrong with the name of a data set, or an empty string."""
    if name in DESCRIPTIONS:
        return ""
    if name.startswith(HUB_PREFIX):
        return "" if name.removeprefix(HUB_PREFIX).strip("/ ") else f"{name!r} lacks the name: write hub:OWNER/NAME"
    return unknown_name("data set", name, [*DESCRIPTIONS, "hub:OWNER/NAME"])
