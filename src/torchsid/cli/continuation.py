"""What `torchsid predict` does with a language model: it continues texts, and says which stage gave each token."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, NamedTuple

from torchsid import training
from torchsid.cli.arguments import cascade_of, from_zero, positive
from torchsid.cli.console import Console, abridged, percent, stage_name
from torchsid.cli.evaluate import print_cost
from torchsid.cli.streams import emit
from torchsid.show.tables import shortened

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.generation import Token

_TOKENS, _TEMPERATURE = 200, 0.8
_OPTIONS = ("tokens", "temperature", "top_k", "seed")
_COLUMNS = ("name", "continuation", "tokens", "average stage", "operations")
_MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"  # of stages


class Piece(NamedTuple):
    """A token, and what it added to the text: nothing where a character was not complete yet."""

    text: str
    token: "Token"


class Continuation(NamedTuple):
    """A text and what follows."""

    name: str  # what was given
    prompt: str
    pieces: Sequence[Piece]
    operations: float  # as a share of the ordinary pass

    @property
    def row(self) -> dict[str, Any]:
        """What is said of it in a line, under the names of `_COLUMNS`."""
        text, stages = "".join(piece.text for piece in self.pieces), [piece.token.stage for piece in self.pieces]
        return dict(zip(_COLUMNS, [self.name, text, len(stages), sum(stages) / len(stages), self.operations], strict=True))

    @property
    def lines(self) -> Iterator[str]:
        """The text in lines that a terminal holds, and below each the stages of its tokens, each under its first letter."""
        text, marks = self.prompt, " " * len(self.prompt)
        for piece in self.pieces:
            text += piece.text
            marks += _MARKS[min(piece.token.stage, len(_MARKS) - 1)].ljust(len(piece.text))[: len(piece.text)]
        width, start = get_terminal_size().columns, 0
        for line in text.splitlines(keepends=True):
            for begin in range(start, start + len(line), width):
                end = min(begin + width, start + len(line))
                yield text[begin:end].rstrip("\n")
                yield from filter(None, [marks[begin:end].rstrip()])
            start += len(line)


def add_arguments(group: "argparse._ArgumentGroup") -> None:
    """Add how a text is continued."""
    group.add_argument("--tokens", type=positive, metavar="N", help=f"how many follow (default: {_TOKENS})")
    draws = f"1 draws from the belief, less prefers what is likely, 0 takes the likeliest (default: {_TEMPERATURE})"
    group.add_argument("--temperature", type=from_zero, metavar="T", help=draws)
    group.add_argument("--top-k", type=positive, metavar="K", help="draw from the K likeliest tokens (default: all)")
    group.add_argument("--seed", type=partial(from_zero, kind=int), metavar="N", help="of what is drawn (default: 0)")


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Return those of these options, by name; None where one is left out."""
    return {name: getattr(args, name) for name in _OPTIONS}


def continued(
    args: argparse.Namespace, network: "training.LoadedNetwork", prompts: "Iterable[tuple[str, Tensor]]", screen: Console
) -> tuple[dict[str, Any], list[dict[str, Any]], Sequence[str]]:
    """Print each text with what follows; with a rule to exit by, the stage of each token below it, and what all of them cost.

    Returns what JSON gets, rows for a spreadsheet, and their columns.
    """
    import torch

    from torchsid.generation import Sampling, TextGenerator
    from torchsid.study.early_exit import operations
    from torchsid.tasks.domain import generator_at

    task, about, count = network.task, network.about, args.tokens or _TOKENS
    example, seed = task.example(about), args.seed or 0
    sampling = Sampling(_TEMPERATURE if args.temperature is None else args.temperature, args.top_k or 0)
    cascade = cascade_of(network, args.directory) if args.exit_when else None
    cost = operations(cascade, example) if cascade else None
    generate = TextGenerator(network.learner.module, example.shape[1], args.exit_when or "", sampling)
    found: list[Continuation] = []
    for name, (tokens,) in prompts:
        if len(tokens) > example.shape[1]:
            screen.warning(f"{shortened(name, 40)}: of its {len(tokens)} tokens the last {example.shape[1]} are read")
        new = list(islice(generate(tokens, generator_at("continuation", seed)), count))
        pieces = list(_pieces(new, lambda ids: task.write(torch.tensor(ids), about)))
        share = cost.share(torch.tensor([token.computed for token in new])) if cost else 1.0
        found.append(Continuation(name, task.write(tokens, about), pieces, share))
        emit("\n".join(found[-1].lines) if cascade else found[-1].prompt + "".join(piece.text for piece in pieces))
        emit()
    if cascade and found:
        _print_stages(found, cascade.depth, args.exit_when, screen)
    settings = {"tokens": count, **asdict(sampling), "seed": seed, "exit_when": args.exit_when}
    rows = [each.row for each in found]
    full = [
        row | {"prompt": each.prompt, "tokens": [piece.token._asdict() | {"text": piece.text} for piece in each.pieces]}
        for row, each in zip(rows, found, strict=True)
    ]
    return {"settings": settings, "continuations": full}, rows, _COLUMNS


def _pieces(tokens: "Sequence[Token]", write: Callable[[list[int]], str]) -> Iterator[Piece]:
    """Yield the tokens with what each adds to the text of all before it; an unfinished character waits for the next one."""
    known = 0
    for count, token in enumerate(tokens, 1):
        text = write([each.id for each in tokens[:count]])
        text = text if count == len(tokens) else text.rstrip("\ufffd")
        yield Piece(text[known:], token)
        known = max(known, len(text))


def _print_stages(found: Sequence[Continuation], depth: int, rule: str, screen: Console) -> None:
    """Print the share of the tokens that each stage gave, and what was spared."""
    stages = [piece.token.stage for each in found for piece in each.pieces]
    shares = [(stage_name(i), percent(stages.count(i) / len(stages), 1)) for i in range(1, depth + 1)]
    names, said = zip(*abridged(shares, ("…", "…")), strict=True)
    screen.table([f"exit when {rule}", *names], [["tokens", *said]])
    emit()
    share = sum(each.operations for each in found) / len(found)
    print_cost(screen, {"average_depth": sum(stages) / len(stages), "operations": share, "whole_batches": ""}, depth)
