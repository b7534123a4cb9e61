"""What a smaller network still answers, and what it takes: few bits, fewer stages, or exits where a stage is sure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchsid.compress.grid import Quantised
from torchsid.compress.packing import packed, plain_name
from torchsid.core.cascade import Cascade
from torchsid.core.staged import OwnHead, StagedCascade
from torchsid.durable import check_replaceable, os_errors, replace_file, replacing_directory
from torchsid.show.plots.curves import Line, curves
from torchsid.study.early_exit import exit_curve, operations
from torchsid.study.files import write_json
from torchsid.tasks import Samples
from torchsid.tasks.domain import generator_at
from torchsid.training import checkpoint
from torchsid.training.config import config_sha256
from torchsid.training.evaluation import evaluate, predict, split
from torchsid.training.run import LoadedNetwork, RunDirectory

if TYPE_CHECKING:
    from torchsid.show.svg import Drawing

RESULT = "compress.json"
DROPPED = "last stages dropped"
_BATCH = 128
_VALUES = 2**24  # numbers of the beliefs about a batch


def check_place(out: Path) -> None:
    """Raise a RunError where a directory holds something else than an earlier result, which may be replaced."""
    problem = "exists and is no earlier result of compress: name another directory with --out"
    check_replaceable(out, lambda path: (path / RESULT).is_file(), problem)


def calibration(network: LoadedNetwork, train: Samples, count: int) -> list[Tensor]:
    """Return what the network reads of some training samples, drawn without their labels, in batches."""
    order = torch.randperm(len(train), generator=generator_at("calibration", network.config.training.seed))
    inputs = train.take(order[:count]).inputs[:]
    belief = network.learner.log_beliefs(network.prepare(inputs[:1]))[-1]
    return [network.prepare(batch) for batch in split(inputs, max(1, min(_BATCH, _VALUES // belief.numel())))]


def row(
    network: LoadedNetwork,
    samples: Samples,
    quantised: Mapping[str, Quantised],
    *,
    method: str = "full precision",
    bits: int = 32,
    full: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the bytes of a network, its accuracy and KL after each stage, and how often its answer is that of the `full` one."""
    found = evaluate(network.learner, samples, prepare=network.prepare)
    pairs = list(zip(found["answers"], (full or found)["answers"], strict=True))
    return {
        "name": f"{method}-{bits}" if quantised else method,
        "method": method,
        "bits": bits,
        "bytes": sizes(network.learner.module, quantised)[-1],
        "accuracy": found["accuracy"][1:],
        "kl": found["kl"][1:],
        "agreement": sum(a == b for a, b in pairs) / len(pairs),
        "answers": found["answers"],
    }


def without_answers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows less the answer to each sample."""
    return [{name: value for name, value in each.items() if name != "answers"} for each in rows]


def sizes(network: nn.Module, quantised: Mapping[str, Quantised]) -> list[int]:
    """Return the bytes of a network's tensors, packed, that ends after each of its stages; the last one leaves out unused heads."""
    tensors = {name: tensor.nbytes for name, tensor in packed(network.state_dict(), quantised).items()}
    if not isinstance(network, Cascade):
        return [sum(tensors.values())]
    owners = ((name, stage) for stage in range(network.depth) for name, _ in network.named_stage_parameters(stage))
    stage_of = {name.rpartition(".")[0]: stage for name, stage in owners}
    own = [0] * network.depth
    for name, size in tensors.items():
        own[stage_of.get(plain_name(name).rpartition(".")[0], 0)] += size
    found = list(accumulate(own))
    if isinstance(network, StagedCascade) and isinstance(network.heads[-1], OwnHead):
        found[-1] = sum(size for name, size in tensors.items() if name.startswith("model."))
    return found


def ended_early(
    network: LoadedNetwork, accuracy: Sequence[float], parts: Mapping[str, Samples]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return what a cascade takes and answers that ends after each stage, and where it is sure (see `exit_curve`).

    Operations are a share of the ordinary pass. There is nothing to end early in a plain network, and no curve without validation
    samples or where a sample is answered at many positions.
    """
    cascade, test = network.learner.module, parts["test"]
    if not isinstance(cascade, Cascade):
        return [], None
    cost = operations(cascade, network.prepare(test.inputs[:2]))
    work = [*(done / cost.inference for done in accumulate(cost.stages[:-1])), 1.0]
    rows = zip(sizes(cascade, {}), work, accuracy, strict=True)
    ends = [{"stages": i, "bytes": a, "operations": b, "accuracy": c} for i, (a, b, c) in enumerate(rows, 1)]
    if "validation" not in parts or network.task.positions != ():
        return ends, None
    chosen, answered = (
        (predict(network.learner, part.inputs, prepare=network.prepare), part.target[:]) for part in (parts["validation"], test)
    )
    return ends, exit_curve(chosen, answered, "confidence", cost)


def write(
    out: Path, run: RunDirectory, found: Sequence[tuple[LoadedNetwork, Mapping[str, Quantised], Mapping[str, Any]]], result: object
) -> None:
    """Write each network as a run directory that loads as any other, and the result beside them; all of it or nothing."""
    with os_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with replacing_directory(out) as fresh:
        for network, quantised, row in found:
            place = RunDirectory(fresh / row["name"])
            place.checkpoint("last").mkdir(parents=True)
            replace_file(place.config_file, run.config_file.read_bytes())
            place.write_manifest({**run.manifest(), "compressed": {name: row[name] for name in ("method", "bits")}})
            sha256 = config_sha256(network.config)
            checkpoint.save_packed(place.checkpoint("last"), network.learner, quantised, row["bits"], config_sha256=sha256)
        write_json(fresh / RESULT, result)


def drawings(
    rows: Sequence[Mapping[str, Any]], ends: Sequence[Mapping[str, Any]], curve: Mapping[str, Any] | None
) -> "list[Drawing]":
    """Return the accuracy over the size, and of a cascade over the operations, of all ways to be smaller."""
    full, *smaller = rows
    by_method = groupby(smaller, lambda row: str(row["method"]))
    lines = [_line(method, ((row["bytes"] / 2**10, row["accuracy"][-1]) for row in own)) for method, own in by_method]
    lines += [_line(DROPPED, ((end["bytes"] / 2**10, end["accuracy"]) for end in ends))] if ends else []
    lines.append(Line("full precision", [], [100 * full["accuracy"][-1]]))
    found = [curves("Accuracy over size", lines, x="KiB", y="accuracy, %")]
    if ends:
        exits = sorted(
            (100 * point["test"]["operations"], point["test"]["accuracy"]) for point in (curve or {"points": []})["points"]
        )
        lines = [_line(DROPPED, ((100 * end["operations"], end["accuracy"]) for end in ends)), _line("exit where sure", exits)]
        found.append(curves("Accuracy over operations", lines[: 1 + bool(exits)], x="multiply-adds, % of all", y="accuracy, %"))
    return found


def _line(name: str, points: Iterable[tuple[float, float]]) -> Line:
    """Return a line through costs and accuracies, which become per cent."""
    costs, accuracies = zip(*points, strict=True) if (points := list(points)) else ((), ())
    return Line(name, costs, [100 * accuracy for accuracy in accuracies])
