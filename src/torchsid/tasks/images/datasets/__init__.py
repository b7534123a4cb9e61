"""Image data sets by name: a registry, a file is a data set. Each is a function from the task's settings to a `RawSet`."""

from torchsid.registry import Registry

DATASETS = Registry("torchsid.tasks.images.datasets", "dataset")

HUB_PREFIX = "hub:"
"""`hub:OWNER/NAME` is a data set of the Hugging Face hub; needs the extra `torchsid[hub]`."""
