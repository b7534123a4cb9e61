"""`torchsid predict`: classify files, folders and texts, stage by stage or until the belief is sure; continue texts."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torchsid import training
from torchsid.cli import continuation
from torchsid.cli.arguments import about_run, add_shared, cascade_of, positive
from torchsid.cli.console import Console, abridged, percent, stage_name, write_json
from torchsid.cli.evaluate import print_cost
from torchsid.errors import ConfigError, DataError, bullets, printable

if TYPE_CHECKING:
    from torch import Tensor

_TABLES = 12  # images up to which each has a table of its own
_CHUNK = 500  # samples in memory at a time
_TOP = 3


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
    parser.add_argument("--top", type=positive, metavar="K", help=f"classes to show (default: {_TOP})")
    continuation.add_arguments(parser.add_argument_group("texts that a language model continues"))


def run(args: argparse.Namespace) -> int:
    """Print answers, or continuations; write the files that are asked for. Then a DataError names what could not be read."""
    from torchsid.study.files import write_csv

    network, screen = training.load_network(args.directory, args.weights), Console()
    continues = network.task.continues
    _refuse(args, {"top": args.top} if continues else continuation.given(args), continues=continues)
    problems: dict[str, str] = {}
    inputs = _named(args.inputs, network, problems, screen)
    if continues:
        about, rows, columns = continuation.continued(args, network, list(_read(inputs, network, problems)), screen)
    else:
        about, rows, columns = _classified(args, network, inputs, problems, screen)
    write_json(screen, args, "predictions", about_run(args) | about | {"problems": problems})
    if args.csv:
        bad = [{"name": name, "problem": problem} for name, problem in problems.items()]
        write_csv(args.csv, [*rows, *bad], (*columns, "problem"))
        screen.file("predictions", args.csv)
    if problems:
        found = f"{len(problems)} of {len(problems) + len(rows)} inputs cannot be read"
        raise DataError(f"{found}:{bullets(problems.values(), len(problems))}")
    return 0


_COLUMNS = ("name", "answer", "belief", "second", "belief in the second", "from stage")


def _refuse(args: argparse.Namespace, unfit: dict[str, Any], *, continues: bool) -> None:
    """Raise a ConfigError that names the options given which the network of RUN has no use for."""
    does = "continues texts" if continues else "answers with a class"
    told = [f"--{name.replace('_', '-')} {value}: {args.directory} {does}" for name, value in unfit.items() if value is not None]
    if told:
        raise ConfigError([f"{each}, leave it out" for each in told], source="command")


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


def _read(names: Sequence[str], network: "training.LoadedNetwork", problems: dict[str, str]) -> "Iterator[tuple[str, Tensor]]":
    """Yield names and stored samples `[1, ...]` of those that can be read, and note the others."""
    for name in names:
        try:
            is_file = exists = False
            with suppress(OSError, ValueError):  # too long a name, or none
                is_file, exists = Path(name).is_file(), Path(name).exists()
            if network.task.reads_files and exists and not is_file:  # a pipe would be waited for
                raise DataError(f"{name}: is no file")
            if not network.task.reads_files and is_file:
                raise DataError(f"{name!r} is a file: give the text itself, in quotes")
            sample = network.task.read(name, network.about)
        except DataError as error:
            problems[printable(name)] = printable(str(error))
        except UnicodeEncodeError:
            problems[printable(name)] = printable(f"{name!r} is no UTF-8")
        else:
            yield printable(name), sample


def _classified(
    args: argparse.Namespace, network: "training.LoadedNetwork", paths: Sequence[str], problems: dict[str, str], screen: Console
) -> tuple[dict[str, Any], list[dict[str, Any]], Sequence[str]]:
    """Print for each image the most likely classes and the belief in them; of many a row each."""
    import torch

    from torchsid.anytime import EarlyExit
    from torchsid.study.early_exit import operations
    from torchsid.training.evaluation import refuse_diverged

    exit_early = EarlyExit(cascade_of(network, args.directory), args.exit_when) if args.exit_when else None
    answers: list[Answer] = []
    computed: list[Tensor] = []
    example: Tensor | None = None
    for start in range(0, len(paths), _CHUNK):
        read = dict(_read(paths[start : start + _CHUNK], network, problems))
        if not read:
            continue
        names, samples = list(read), torch.cat(list(read.values()))
        if exit_early is None:
            answers += _grown(names, samples, network)
            continue
        x = network.prepare(samples)
        found = exit_early(x)  # a loaded network is in evaluation mode
        refuse_diverged(found.log_belief[None])
        for name, belief, depth in zip(names, found.log_belief.exp(), found.depth.tolist(), strict=True):
            answers.append(Answer(name, [f"stage {depth} of {exit_early.cascade.depth}"], belief[None], depth))
        computed, example = [*computed, found.computed], x[:2]
    _show(answers, network.class_names, args.top or _TOP, screen)
    if exit_early is not None and example is not None:
        average = sum(answer.settled for answer in answers) / len(answers)
        cost = operations(exit_early.cascade, example).share(torch.cat(computed))
        spared = {"average_depth": average, "whole_batches": exit_early.whole_batches, "operations": cost}
        print_cost(screen, spared, exit_early.cascade.depth)
    rows = [_row(answer, network.class_names) for answer in answers]
    images = [row | {"beliefs": answer.beliefs[-1].tolist()} for row, answer in zip(rows, answers, strict=True)]
    return {"class_names": network.class_names, "images": images}, rows, _COLUMNS


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
    return dict(zip(_COLUMNS, [answer.name, *said], strict=True))
