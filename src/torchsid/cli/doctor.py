"""`torchsid doctor`: show versions, devices and optional parts, and run a self-test of ten seconds."""

import argparse
import time
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from re import match
from tempfile import TemporaryDirectory

from torchsid.cli.console import Console, percent
from torchsid.cli.streams import emit

_FOR_DEVELOPERS = ("dev", "docs")
_ENOUGH = 0.8  # accuracy on the embedded digits, which four epochs pass by far


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument("--no-test", action="store_true", help="without the self-test")


def run(args: argparse.Namespace) -> int:
    """Print what is there, then train on the embedded digits, load and ask the network; 2 where that goes wrong."""
    import torch

    from torchsid.training.provenance import provenance

    screen, found = Console(), provenance()
    rows = list({**found["versions"], **found["hardware"]}.items())
    rows += [(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    screen.table(["this machine", ""], [[name, str(value)] for name, value in rows])
    emit()
    screen.table(["extra", "there", "missing"], [[name, *map(", ".join, parts)] for name, parts in extras().items()])
    if args.no_test:
        return 0
    emit()
    started = time.perf_counter()
    accuracy = self_test()
    took = (
        f"four epochs on the embedded digits, written, loaded, asked: {percent(accuracy)} in {time.perf_counter() - started:.0f} s"
    )
    emit(f"self-test: {took}" + ("" if accuracy > _ENOUGH else f"; {_ENOUGH:.0%} was to be expected, something is wrong here"))
    return 0 if accuracy > _ENOUGH else 2


def extras() -> dict[str, tuple[list[str], list[str]]]:
    """Return for each extra, but those for developers, the packages that are there, with versions, and the others."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    try:
        requirements = requires("torchsid") or ()
    except PackageNotFoundError:  # the source is on the path, and nothing is installed
        return found
    for requirement in requirements:
        asked = match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", requirement)
        if asked is None or asked[2] in _FOR_DEVELOPERS:
            continue
        there, missing = found.setdefault(asked[2], ([], []))
        try:
            there.append(f"{asked[1]} {version(asked[1])}")
        except PackageNotFoundError:
            missing.append(asked[1])
    return found


def self_test() -> float:
    """Train on the embedded digits, and return the accuracy on those held out of the network that was written and read back."""
    import torch

    from torchsid import training

    with TemporaryDirectory() as directory:
        run = training.train(training.resolve("digits", ["training.epochs=4"]), Path(directory) / "run")
        network = training.load_network(run)
        test = network.task.load(0).test
        answers = network.learner.log_beliefs(network.prepare(test.inputs[:]))[-1].argmax(-1)
        return float(torch.eq(answers, test.target[:]).float().mean())
