"""`torchsid predict`: classify files, folders and texts, and show how the belief grew from stage to stage, or until it was sure."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torchsid import training
from torchsid.cli.arguments import about_run, add_shared, cascade_of, positive
from torchsid.cli.console import Console, abridged, percent, stage_name, write_json
from torchsid.cli.evaluate import print_cost
from torchsid.errors import DataError, printable

if TYPE_CHECKING:
    from torch import Tensor

_TABLES = 12  # images up to which each has a table of its own
_CHUNK = 500  # samples in memory at a time


class Answer(NamedTuple):
    """What is believed about one file, or text."""

    name: str
    stages: Sequence[str]
    beliefs: "Tensor"  # after each of the stages, `[S, C]`
    settled: int  # the stage from which on the answer stands, or at which it was given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--exit-when", "--json", "--csv")
    several = "an image file, or a folder: all images in it, and in the folders in it, in the order of their names; or a text"
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=several)
    parser.add_argument("--top", type=positive, default=3, metavar="K", help="classes to show (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print for each image the most likely classes and the belief in them; of many a row each. Then a DataError names bad files."""
    from torchsid.anytime import EarlyExit
    from torchsid.study.early_exit import operations
    from torchsid.study.files import write_csv
    from torchsid.training.evaluation import refuse_diverged

    network, screen = training.load_network(args.directory, args.weights), Console()
    exit_early = EarlyExit(cascade_of(network, args.directory), args.exit_when) if args.exit_when else None
    problems: dict[str, str] = {}
    paths = _named(args.inputs, network, problems, screen)
    answers: list[Answer] = []
    computed: list[Tensor] = []
    example: Tensor | None = None
    for start in range(0, len(paths), _CHUNK):
        names, samples = _read(paths[start : start + _CHUNK], network, problems)
        if samples is None:
            continue
        if exit_early is None:
            answers += _grown(names, samples, network)
            continue
        x = network.prepare(samples)
        found = exit_early(x)  # a loaded network is in evaluation mode
        refuse_diverged(found.log_belief[None])
        for name, belief, depth in zip(names, found.log_belief.exp(), found.depth.tolist(), strict=True):
            answers.append(Answer(name, [f"stage {depth} of {exit_early.cascade.depth}"], belief[None], depth))
        computed, example = [*computed, found.computed], x[:2]
    _show(answers, network.class_names, args.top, screen)
    if exit_early is not None and example is not None:
        import torch

        average = sum(answer.settled for answer in answers) / len(answers)
        cost = operations(exit_early.cascade, example).share(torch.cat(computed))
        spared = {"average_depth": average, "whole_batches": exit_early.whole_batches, "operations": cost}
        print_cost(screen, spared, exit_early.cascade.depth)
    rows = [_row(answer, network.class_names) for answer in answers]
    if args.json:
        beliefs = [answer.beliefs[-1].tolist() for answer in answers]
        images = [row | {"beliefs": each} for row, each in zip(rows, beliefs, strict=True)]
        about = about_run(args) | {"class_names": network.class_names}
        write_json(screen, args, "predictions", about | {"images": images, "problems": problems})
    if args.csv:
        write_csv(args.csv, [*rows, *({"name": name, "problem": problem} for name, problem in problems.items())], _COLUMNS)
        screen.file("predictions", args.csv)
    if problems:
        shown = "".join(f"\n  - {problem}" for problem in problems.values())
        raise DataError(f"{len(problems)} of {len(problems) + len(answers)} inputs cannot be read:{shown}")
    return 0


_COLUMNS = ("name", "answer", "belief", "second", "belief in the second", "from stage", "problem")


def _named(given: Sequence[str], network: "training.LoadedNetwork", problems: dict[str, str], screen: Console) -> list[str]:
    """Return what is given, of folders the files in them, each once; an empty folder is a problem."""
    if not network.task.reads_files:
        return list(dict.fromkeys(given))
    paths: dict[Path, None] = {}
    for path in map(Path, given):
        if not path.is_dir():
            paths[path] = None
            continue
        found, left_out = network.task.readable(path)
        for sentence in left_out:
            screen.warning(f"{printable(str(path))}: {sentence}")
        if not found:
            problems[printable(str(path))] = f"{printable(str(path))}: no file in this folder that can be read"
        paths |= dict.fromkeys(found)
    return list(map(str, paths))


def _read(names: Sequence[str], network: "training.LoadedNetwork", problems: dict[str, str]) -> "tuple[list[str], Tensor | None]":
    """Return names and stored samples `[N, ...]` of those that can be read, and note the others."""
    import torch

    read, samples = [], []
    for name in names:
        try:
            if network.task.reads_files and (path := Path(name)).exists() and not path.is_file():  # a pipe would be waited for
                raise DataError(f"{name}: is no file")
            samples.append(network.task.read(name, network.about))
            read.append(printable(name))
        except DataError as error:
            problems[printable(name)] = printable(str(error))
    return read, torch.cat(samples) if samples else None


def _grown(names: Sequence[str], samples: "Tensor", network: "training.LoadedNetwork") -> Iterator[Answer]:
    """Yield the beliefs from the prior to the last stage."""
    from torchsid.study.positions import settled
    from torchsid.training.evaluation import predict, refuse_diverged

    log_beliefs = predict(network.learner, samples, prepare=network.prepare)  # [L+1, N, C]
    refuse_diverged(log_beliefs)
    beliefs = log_beliefs.exp()
    stages = [stage_name(stage) for stage in range(len(beliefs))]
    for place, (name, stage) in enumerate(zip(names, settled(beliefs[1:].argmax(-1)).tolist(), strict=True)):
        yield Answer(name, stages, beliefs[:, place], stage)


def _show(answers: Sequence[Answer], classes: Sequence[str], top: int, screen: Console) -> None:
    """Print a table an image with its likeliest classes, or one row each of many."""
    if len(answers) > _TABLES:
        rows = [_row(each, classes) for each in answers]
        screen.rows([row | {key: percent(row[key], 1) for key in ("belief", "belief in the second")} for row in rows])
        return
    for answer in answers:
        likely = answer.beliefs[-1].topk(min(top, len(classes))).indices.tolist()
        table = [[classes[k], *abridged([percent(p, 1) for p in answer.beliefs[:, k].tolist()], "…")] for k in likely]
        screen.table([answer.name, *abridged(answer.stages, "…")], table)


def _row(answer: Answer, classes: Sequence[str]) -> dict[str, Any]:
    """Return the answer in a line, under the names of `_COLUMNS`."""
    beliefs, likely = (each.tolist() for each in answer.beliefs[-1].topk(2))
    said = [classes[likely[0]], beliefs[0], classes[likely[1]], beliefs[1], answer.settled]
    return dict(zip(_COLUMNS, [answer.name, *said], strict=False))
