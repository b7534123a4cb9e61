"""`torchsid predict`: answer files, folders, rows and texts, stage by stage or until the belief is sure; continue texts."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid import training
from torchsid.cli import continuation
from torchsid.cli.answers import Answer, Classes, OfNumbers, Teller
from torchsid.cli.arguments import about_run, add_shared, cascade_of, positive
from torchsid.cli.console import Console, stage_name, write_json
from torchsid.cli.evaluate import print_cost
from torchsid.errors import ConfigError, DataError, bullets, printable

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 500  # samples in memory at a time
_TOP = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--exit-when", "--json", "--table")
    several = "an image file or a table, or a folder: all in it, in the order of their names; a text; or a row, as a JSON object"
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=several)
    parser.add_argument("--top", type=positive, metavar="K", help=f"classes to show (default: {_TOP})")
    continuation.add_arguments(parser.add_argument_group("texts that a language model continues"))


def run(args: argparse.Namespace) -> int:
    """Print answers, or continuations; write the files that are asked for. Then a DataError names what could not be read."""
    from torchsid.study.files import write_table
    from torchsid.tasks.numbers import Numbers

    network, screen = training.load_network(args.directory, args.weights), Console()
    continues, numbers = network.task.continues, Numbers.of(network.about)
    does = "continues texts" if continues else "answers with a number" if numbers else "answers with a class"
    _refuse(args, ({"top": args.top} if continues or numbers else {}) | ({} if continues else continuation.given(args)), does)
    problems: dict[str, str] = {}
    inputs = _named(args.inputs, network, problems, screen)
    if continues:
        about, rows, columns = continuation.continued(args, network, list(_read(inputs, network, problems)), screen)
    else:
        tell = OfNumbers(numbers) if numbers else Classes(network.class_names, args.top or _TOP)
        about, rows, columns = *_answered(args, network, inputs, problems, screen, tell), tell.columns
    write_json(screen, args, "predictions", about_run(args) | about | {"problems": problems})
    if args.table:
        bad = [{"name": name, "problem": problem} for name, problem in problems.items()]
        write_table(args.table, [*rows, *bad], (*columns, "problem"))
        screen.file("predictions", args.table)
    if problems:
        found = f"{len(problems)} of {len(problems) + len(rows)} inputs cannot be read"
        raise DataError(f"{found}:{bullets(problems.values(), len(problems))}")
    return 0


def _refuse(args: argparse.Namespace, unfit: dict[str, Any], does: str) -> None:
    """Raise a ConfigError that names the options given which the network of RUN, which `does` something else, has no use for."""
    told = [f"--{name.replace('_', '-')} {value}: {args.directory} {does}" for name, value in unfit.items() if value is not None]
    if told:
        raise ConfigError([f"{each}, leave it out" for each in told], source="command")


def _named(given: Sequence[str], network: "training.LoadedNetwork", problems: dict[str, str], screen: Console) -> list[str]:
    """Return what is given, of folders the files in them, each once; an empty folder is a problem."""
    if not network.task.reads_files:
        return list(dict.fromkeys(given))
    paths: dict[str, None] = {}
    for name in given:
        path, is_folder, called = Path(name), False, name
        with suppress(OSError, ValueError):  # too long a name, or none: it may be the input itself
            called, is_folder = str(path) if path.exists() else name, path.is_dir()
        if not is_folder:
            paths[called] = None
            continue
        found, left_out = network.task.readable(path)
        for sentence in left_out:
            screen.warning(f"{printable(str(path))}: {sentence}")
        if not found:
            problems[printable(str(path))] = f"{printable(str(path))}: no file in this folder that can be read"
        paths |= dict.fromkeys(map(str, found))
    return list(paths)


def _read(names: Sequence[str], network: "training.LoadedNetwork", problems: dict[str, str]) -> "Iterator[tuple[str, Tensor]]":
    """Yield names and stored samples `[1, ...]` of those that can be read, rows of a table each, and note the others."""
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
            for row in range(len(sample)):
                yield printable(name) + (f", row {row}" if len(sample) > 1 else ""), sample[row : row + 1]


def _answered(
    args: argparse.Namespace,
    network: "training.LoadedNetwork",
    paths: Sequence[str],
    problems: dict[str, str],
    screen: Console,
    tell: Teller,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Print what the network answers to each input; return it as JSON has it, and in lines."""
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
    tell.show(answers, screen)
    if exit_early is not None and example is not None:
        average = sum(answer.settled for answer in answers) / len(answers)
        cost = operations(exit_early.cascade, example).share(torch.cat(computed))
        spared = {"average_depth": average, "whole_batches": exit_early.whole_batches, "operations": cost}
        print_cost(screen, spared, exit_early.cascade.depth)
    rows = [tell.row(answer) for answer in answers]
    images = [{**row, "beliefs": answer.beliefs[-1].tolist()} for row, answer in zip(rows, answers, strict=True)]
    return {"class_names": network.class_names, "images": images}, rows


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
