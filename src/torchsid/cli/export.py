"""`torchsid export`: write a trained network for other runtimes, as ONNX or `torch.export`, whole or stage by stage."""

import argparse
from pathlib import Path

from torchsid import training
from torchsid.cli.arguments import add_shared
from torchsid.cli.console import Console, percent
from torchsid.cli.streams import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights")
    add = parser.add_argument
    add("--to", default="onnx", metavar="FORMAT", help="onnx or torch-export (default: %(default)s)")
    add("--exits", action="store_true", help="one file per stage, and a driver that stops at the first sure stage")
    add("--stages", type=int, metavar="N", help="leave out the stages after stage N, and say what that costs")
    add("--half", action="store_true", help="weights and arithmetic in float16")
    add("--out", type=Path, metavar="DIR", help="directory of the files (default: RUN/export)")


def run(args: argparse.Namespace) -> int:
    """Write the files and say how far their answers lie from the network's."""
    from torchsid.export.runs import export_run

    directory, screen = training.open_run(args.directory), Console()
    network = training.load_network(directory, args.weights)
    settings = {"to": args.to, "stages": args.stages, "exits": args.exits, "half": args.half}
    found = export_run(network, directory, args.out or args.directory / "export", **settings)
    for path in found.paths:
        screen.file("export", path)
    emit(f"probabilities differ from the network's by {found.difference:.1e} at most")
    if args.stages:
        reached = directory.evaluation().get(args.weights, {}).get("validation", {}).get("accuracy", [])
        if len(reached) > found.stage:
            here, end = percent(reached[found.stage]), percent(reached[-1])
            emit(f"validation accuracy: {here} after stage {found.stage}, {end} after the last")
    return 0
