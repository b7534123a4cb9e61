"""From a trained run to files for other runtimes, whose answers are compared with the network's before they are kept."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from torchsid.__about__ import __version__
from torchsid.core.cascade import Cascade
from torchsid.durable import check_replaceable, replacing_directory
from torchsid.errors import ConfigError, ExportError
from torchsid.export.formats import SUFFIXES, write
from torchsid.export.graphs import Chain, Whole, stages_of
from torchsid.training.config import config_sha256
from torchsid.training.run import LoadedNetwork, RunDirectory

TOLERANCE, HALF_TOLERANCE = 1e-5, 2e-2  # of probabilities
_OURS = re.compile(r"(model|stage-\d+)\.(onnx|pt2)|cascade\.py")


@dataclass(frozen=True)
class Exported:
    """What was written: the files, how far their probabilities lie from the network's at most, and of which stage they are."""

    paths: list[Path]
    difference: float
    stage: int


def export(
    network: LoadedNetwork,
    run: RunDirectory,
    out: Path,
    *,
    to: str,
    stages: int | None = None,
    exits: bool = False,
    half: bool = False,
) -> Exported:
    """Write the network of a run, `model.onnx` or `model.pt2` in the directory `out`, which is replaced as a whole.

    The files read inputs as the data set stores them, pixels of 0 to 255 or tokens, `[B, ...]`; they prepare them, and return
    log-probabilities `[B, ..., C]`. What they are, the names of the classes and what is known of the data, such as a vocabulary,
    stands in them as JSON, below `torchsid`.

    Args:
        network: of `load_network`.
        run: its directory.
        out: a directory, none but one that an export made.
        to: `onnx` or `torch-export`.
        stages: how many of the stages; the rest are left out.
        exits: a file a stage instead, `stage-1.onnx` …, and with ONNX `cascade.py`, which stops at the first stage that is sure.
        half: weights and arithmetic in float16.

    Raises:
        ConfigError: settings that do not fit the network; names all.
        RunError: `out` is something else.
        ExportError: the network cannot be exported, or answers differently there.
    """
    module = network.learner.module
    depth = module.depth if isinstance(module, Cascade) else 1
    last = _check(network, to, stages, depth, exits=exits)
    check_replaceable(out, _is_ours, "holds other things: name a new directory with --out")
    stored, as_stored = _inputs(network, run)
    own = network.prepare if as_stored else _same
    expected = network.learner.log_beliefs(own(stored))[1:].float()

    def prepare(stored: Tensor) -> Tensor:
        x = own(stored)
        return x.half() if half and x.is_floating_point() else x

    if half:
        module.half()
    about = _about(network, stored, as_stored=as_stored)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    suffix, limit = SUFFIXES.get(to, ""), HALF_TOLERANCE if half else TOLERANCE
    with replacing_directory(out) as fresh:
        if exits:
            assert isinstance(module, Cascade)
            found, difference = [stored], 0.0
            for number, graph in enumerate(stages_of(module, prepare, stored)[: last + 1], 1):
                path = fresh / f"stage-{number}{suffix}"
                answers = write(graph.eval(), found, path, about | {"stage": number, "stages": last + 1}, to)(*found)
                difference = max(difference, _compared(answers[-1], expected[number - 1], limit, f"stage {number}"))
                found = answers
            if to == "onnx":
                shutil.copyfile(Path(__file__).with_name("driver.py"), fresh / "cascade.py")
        else:
            path = fresh / f"model{suffix}"
            whole: nn.Module = Whole(module, prepare)
            if last < depth - 1 and isinstance(module, Cascade):
                whole = Chain(stages_of(module, prepare, stored)[: last + 1])
            answers = write(whole.eval(), [stored], path, about | {"stage": last + 1, "stages": last + 1}, to)(stored)
            difference = _compared(answers[-1], expected[last], limit, "the network")
        names = sorted(path.name for path in fresh.iterdir())
    return Exported([out / name for name in names], difference, last + 1)


def _check(network: LoadedNetwork, to: str, stages: int | None, depth: int, *, exits: bool) -> int:
    """Return the last stage that is exported, from 0."""
    problems = [] if to in SUFFIXES else [f"--to {to}: allowed is {' or '.join(SUFFIXES)}"]
    if exits and not isinstance(network.learner.module, Cascade):
        problems.append(f"--exits: {network.config.learner.name!r} trained a network without stages, leave it out")
    if stages is not None and not 1 <= stages <= depth:
        problems.append(f"--stages {stages}: give 1 to {depth}, of which the network has that many")
    if problems:
        raise ConfigError(problems, source="command")
    return (stages or depth) - 1


def _is_ours(folder: Path) -> bool:
    """Return whether a directory holds nothing but what an export writes."""
    return all(_OURS.fullmatch(path.name) for path in folder.iterdir())


def _inputs(network: LoadedNetwork, run: RunDirectory) -> tuple[Tensor, bool]:
    """Return two samples or more, and whether they are as the data set stores them: held-out ones where the run kept some.

    Else they are tokens at random, as a network reads them.
    """
    kept = run.path / "samples.safetensors"
    if kept.is_file():
        stored = load_file(kept)["inputs"][:8]
        return (stored if len(stored) > 1 else stored.repeat(2, *(1 for _ in stored.shape[1:]))), True
    example = network.task.example(network.about)
    if not example.is_floating_point():
        tokens = network.about["num_classes"] if network.task.continues else int(example.max()) + 1
        example = torch.randint(tokens, example.shape, generator=torch.Generator().manual_seed(0))
    return example, False


def _same(stored: Tensor) -> Tensor:
    return stored


def _about(network: LoadedNetwork, stored: Tensor, *, as_stored: bool) -> dict[str, Any]:
    """Return what a file says of itself."""
    inputs = {"shape": ["batch", *stored.shape[1:]], "dtype": str(stored.dtype).removeprefix("torch.")}
    return {
        "torchsid": __version__,
        "recipe": network.config.label,
        "task": network.config.task,
        "inputs": {**inputs, "are": "as the data set stores them" if as_stored else "as the network reads them"},
        "answers": "log-probabilities",
        "class_names": list(network.class_names),
        "data": {name: value for name, value in network.about.items() if name != "class_names"},
        "config_sha256": config_sha256(network.config),
    }


def _compared(answers: Tensor, expected: Tensor, limit: float, what: str) -> float:
    """Return the largest difference of probabilities; one above the limit is an ExportError."""
    difference = float((answers.float().exp() - expected.exp()).abs().max())
    if not difference <= limit:
        raise ExportError(f"{what} answers differently once it is exported: probabilities differ by {difference:.1e}")
    return difference
