"""`torchsid bench`: measure on this machine what one training step costs."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import ConfigError

COLUMNS = (
    "procedure",
    "stages",
    "gradients",
    "quartiles",
    "to reference",
    "to backprop",
    "step",
    "to reference",
    "to backprop",
    "kept",
)


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("bench", help="measure time and memory of a training step", allow_abbrev=False)
    benches = parser.add_subparsers(metavar="WHAT", required=True)
    step = benches.add_parser(
        "step", help="one step of every schedule and of backpropagation, interleaved in one process", allow_abbrev=False
    )
    step.add_argument(
        "--depths", type=positive, nargs="+", default=[4, 8, 16, 64, 256], metavar="L", help="stages (default: 4 8 16 64 256)"
    )
    step.add_argument("--rounds", type=positive, default=12, metavar="N", help="rounds (default: %(default)s)")
    step.add_argument("--batch-size", type=positive, default=128, metavar="B", help="images (default: %(default)s)")
    step.add_argument("--threads", type=positive, default=0, metavar="N", help="(default: PyTorch's own choice)")
    step.add_argument("--json", type=Path, metavar="FILE", help="write the result, with hardware and versions")
    step.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Time the steps, print one row a procedure and depth, and write the file.

    Raises:
        ConfigError: a single round, which has no spread.
    """
    from torchsid.evidence.timing import run_step_bench

    if args.rounds < 2:
        raise ConfigError([f"--rounds {args.rounds}: quartiles need 2 or more"], source="command")
    screen = console.choose()
    result: dict[str, Any] = run_step_bench(
        args.depths, rounds=args.rounds, batch_size=args.batch_size, threads=args.threads, progress=screen.note
    )
    screen.table(COLUMNS, [_cells(row) for row in result["rows"]])
    if args.json:
        results.write_json(args.json, {"command": shlex.join(["torchsid", *args.command]), **result})
        screen.file("result", args.json)
    return 0


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["gradients_quartiles_ms"]
    return [
        row["procedure"],
        str(row["depth"]),
        f"{row['gradients_ms']:.2f} ms",
        f"{low:.2f}–{high:.2f}",
        f"{row['gradients_over_reference']:.2f}",
        f"{row['gradients_over_backprop']:.2f}",
        f"{row['step_ms']:.2f} ms",
        f"{row['step_over_reference']:.2f}",
        f"{row['step_over_backprop']:.2f}",
        f"{row['kept_bytes'] / 2**20:.2f} MiB",
    ]
