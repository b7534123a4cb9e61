"""From a trained network to files for other runtimes, whose answers are compared with the network's before they are kept."""

import re
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.__about__ import __version__
from torchsid.core.cascade import Cascade
from torchsid.core.learner import log_beliefs_of
from torchsid.durable import check_replaceable, replacing_directory
from torchsid.errors import ConfigError, ExportError
from torchsid.export.formats import SUFFIXES, write
from torchsid.export.graphs import Chain, Prepare, Whole, stages_of

TOLERANCE, HALF_TOLERANCE = 1e-5, 2e-2  # of probabilities
_OURS = re.compile(r"(model|stage-\d+)\.(onnx|pt2)|cascade\.py")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Exported:
    """What was written: the files, how far their probabilities lie from the network's at most, and of which stage they are."""

    paths: list[Path]
    difference: float
    stage: int


@torch.no_grad()
def export_network(
    network: nn.Module,
    example: Tensor,
    out: str | Path,
    *,
    to: str = "onnx",
    prepare: Prepare | None = None,
    class_names: Sequence[object] = (),
    about: Mapping[str, Any] = _NOTHING,
    stages: int | None = None,
    exits: bool = False,
    half: bool = False,
) -> Exported:
    """Write a network, `model.onnx` or `model.pt2` in the directory `out`, which is replaced as a whole.

    The files take a batch of any size, and return log-probabilities `[B, ..., C]`. What their inputs are, the names of the classes
    and `about` stand in them as JSON, below `torchsid`. The network itself stays as it is, on its device and in its mode.

    Args:
        network: a cascade, or any module from inputs to logits `[B, ..., C]`.
        example: a few inputs `[B, ...]`, on which the files are compared with the network.
        out: a directory, none but one that an export made.
        to: `onnx` or `torch-export`.
        prepare: from inputs to what the network reads, a part of the files; nothing by default.
        class_names: one for each outcome; their numbers by default.
        about: what else the files say of themselves, as JSON can hold it.
        stages: how many of the stages; the rest are left out.
        exits: a file a stage instead, `stage-1.onnx` …, and with ONNX `cascade.py`, which stops at the first stage that is sure.
        half: weights and arithmetic in float16.

    Raises:
        ConfigError: settings that do not fit the network; names all.
        MissingPackageError: ONNX asks for packages that are not installed.
        RunError: `out` is something else.
        ExportError: the network cannot be exported, or answers differently there.
    """
    own, out = prepare or _same, Path(out)
    depth = network.depth if isinstance(network, Cascade) else 1
    last = _check(network, example, to, stages, depth, exits=exits)
    check_replaceable(out, _is_ours, "holds other things: name a new directory")
    module = deepcopy(network).cpu().eval().requires_grad_(False)
    given = example.detach().cpu()
    given = given if len(given) > 1 else given.repeat(2, *(1 for _ in given.shape[1:]))  # torch.export takes 1 for a constant
    expected = log_beliefs_of(module, own(given))[1:].float()
    names = [str(name) for name in class_names] or [str(number) for number in range(expected.shape[-1])]
    inputs = {"shape": ["batch", *given.shape[1:]], "dtype": str(given.dtype).removeprefix("torch.")}
    told = {"torchsid": __version__, "inputs": inputs, "answers": "log-probabilities", "class_names": names, "stages": last + 1}
    told |= about

    def prepared(inputs: Tensor) -> Tensor:
        x = own(inputs)
        return x.half() if half and x.is_floating_point() else x

    if half:
        module.half()
    suffix, limit = SUFFIXES[to], HALF_TOLERANCE if half else TOLERANCE
    with replacing_directory(out) as fresh:
        if exits:
            found, difference = [given], 0.0
            for number, graph in enumerate(stages_of(module, prepared, given)[: last + 1], 1):
                path = fresh / f"stage-{number}{suffix}"
                answers = write(graph.eval(), found, path, told | {"stage": number}, to)(*found)
                difference = max(difference, _compared(answers[-1], expected[number - 1], limit, f"stage {number}"))
                found = answers
            if to == "onnx":
                shutil.copyfile(Path(__file__).with_name("driver.py"), fresh / "cascade.py")
        else:
            path = fresh / f"model{suffix}"
            fewer = last < depth - 1
            whole = Chain(stages_of(module, prepared, given)[: last + 1]) if fewer else Whole(module, prepared)
            answers = write(whole.eval(), [given], path, told | {"stage": last + 1}, to)(given)
            difference = _compared(answers[-1], expected[last], limit, "the network")
        written = sorted(path.name for path in fresh.iterdir())
    return Exported([out / name for name in written], difference, last + 1)


def _same(inputs: Tensor) -> Tensor:
    return inputs


def _check(network: nn.Module, example: object, to: str, stages: int | None, depth: int, *, exits: bool) -> int:
    """Return the last stage that is exported, from 0."""
    problems = [] if to in SUFFIXES else [f"to = {to!r}: allowed is {' or '.join(SUFFIXES)}"]
    if not isinstance(example, Tensor) or not example.dim() or not len(example):
        problems.append("example: give a tensor of a few inputs, [B, ...]")
    if exits and not isinstance(network, Cascade):
        problems.append("exits: the network has no stages, leave it out")
    if stages is not None and not 1 <= stages <= depth:
        problems.append(f"stages = {stages}: give 1 to {depth}, of which the network has that many")
    if problems:
        raise ConfigError(problems, source="export")
    return (stages or depth) - 1


def _is_ours(folder: Path) -> bool:
    """Return whether a directory holds nothing but what an export writes."""
    return all(_OURS.fullmatch(path.name) for path in folder.iterdir())


def _compared(answers: Tensor, expected: Tensor, limit: float, what: str) -> float:
    """Return the largest difference of probabilities; one above the limit is an ExportError."""
    difference = float((answers.float().exp() - expected.exp()).abs().max())
    if not difference <= limit:
        raise ExportError(f"{what} answers differently once it is exported: probabilities differ by {difference:.1e}")
    return difference
