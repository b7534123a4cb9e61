"""The network of a run, exported with what the run knows of its data."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from torchsid.export.export import Exported, export_network
from torchsid.training.config import config_sha256
from torchsid.training.run import LoadedNetwork, RunDirectory


def export_run(network: LoadedNetwork, run: RunDirectory, out: Path, **settings: Any) -> Exported:
    """Write the network of a run, which prepares its inputs, pixels of 0 to 255 or tokens, as the data set stores them.

    Args:
        network: of `load_network`.
        run: its directory.
        out: a directory, none but one that an export made.
        settings: `to`, `stages`, `exits` and `half` of `export_network`, whose errors these are as well.
    """
    example, stored = _example(network, run)
    if stored:
        settings["prepare"] = network.prepare
    about = {
        "recipe": network.config.label,
        "task": network.config.task,
        "inputs_are": "as the data set stores them" if stored else "as the network reads them",
        "data": {name: value for name, value in network.about.items() if name != "class_names"},
        "config_sha256": config_sha256(network.config),
    }
    return export_network(network.learner.module, example, out, class_names=network.class_names, about=about, **settings)


def _example(network: LoadedNetwork, run: RunDirectory) -> tuple[Tensor, bool]:
    """Return a few samples, and whether they are as the data set stores them: held-out ones where the run kept some.

    Else they are tokens at random, as a network reads them.
    """
    kept = run.path / "samples.safetensors"
    if kept.is_file():
        return load_file(kept)["inputs"][:8], True
    example = network.task.example(network.about)
    if not example.is_floating_point():
        tokens = network.about["num_classes"] if network.task.continues else int(example.max()) + 1
        example = torch.randint(tokens, example.shape, generator=torch.Generator().manual_seed(0))
    return example, False
