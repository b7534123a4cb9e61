"""How fast images are read while a light network trains, what memory that takes, and how soon a large data set begins.

    python benchmarks/data/make.py SMALL --images 3000 --side 64 --validation 200 --distinct 2000
    python benchmarks/data/make.py PHOTOS --images 400 --classes 100 --validation 100
    python benchmarks/data/bench.py rates SMALL --side 64 --cache CACHE --out OUT/64.json
    python benchmarks/data/bench.py rates PHOTOS --side 224 --crops --batch-size 25 --cache CACHE --out OUT/224.json
    python benchmarks/data/make.py TARS --images 1281167 --side 64 --layout tars --distinct 20000
    python benchmarks/data/bench.py start TARS --name shards --cache CACHE --rounds 2 --steps 100 --out OUT/start.json

With Hugging Face `datasets` beside torch the comparison has it too. OUT is benchmarks/results/data.

`rates`: every contender trains an epoch in turn, in an order that rotates; ratios are taken within a round. What the processors
do for an image, all processes together, tells how fast it can be where others are at work beside. Memory is measured in
fresh processes: the peak of the one that trains, above what it has with the network and before the data, and what it and those
that it started hold at the end of an epoch, shared pages divided among them. `start`: in a fresh process, with the cache there.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contenders import ALONE, CONTENDERS, CPU, IN_MEMORY, Epoch, Folder, Step, available, loaded, trained
from torch import nn
from torch.nn import functional as F

from torchsid.bench.processes import in_fresh_processes
from torchsid.bench.steps import ratios, spread, take_turns
from torchsid.cli.console import Console
from torchsid.core.peak_memory import peak_memory_mib, reset_peak_memory
from torchsid.training.provenance import provenance

Row = dict[str, Any]
CLASSES = 1000
SEEN = 32  # pixels a side, to which the network shrinks what it gets


def light(side: int) -> Step:
    """Return the step of a network that is far quicker than decoding: images shrink to 32 x 32, two convolutions."""
    torch.manual_seed(0)
    shrink = nn.AvgPool2d(max(1, side // SEEN))
    body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = nn.Sequential(shrink, body, nn.Flatten(), nn.Linear(32, CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(x: torch.Tensor, target: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), target).backward()
        optimizer.step()

    step(torch.randn(2, 3, side, side), torch.zeros(2, dtype=torch.int64))
    return step


def rates(folder: Folder, rounds: int, progress: Console) -> dict[str, Any]:
    """Return images a second and memory of every contender."""
    step, opened, epochs, stack = light(folder.side), dict[str, Epoch](), count(1), ExitStack()
    names = list(available(folder))

    def turn(name: str) -> tuple[float, float]:
        """Return images a second, and milliseconds of all processors an image."""
        if name not in opened:
            opened[name] = CONTENDERS[name](folder, stack)
        started, busy = time.perf_counter(), processor_seconds()
        images = opened[name](next(epochs), step)
        rate, cost = images / (time.perf_counter() - started), 1e3 * (processor_seconds() - busy) / images
        progress.note(f"{name}: {rate:.0f} images/s, {cost:.2f} ms of the processors an image")
        return rate, cost

    with stack:
        turns = take_turns(names, turn, rounds)
    found = {name: [rate for rate, _ in each] for name, each in turns.items()}
    rows = []
    for name in names:
        middle, low, high = spread(found[name])
        row: Row = {"contender": name, "images_per_second": middle, "quartiles": (low, high), "n": rounds}
        row["processor_ms"] = median(cost for _, cost in turns[name])
        for base in (IN_MEMORY, ALONE):
            row[f"over_{base.replace(' ', '_')}"] = median(ratios(found[name], found[base]))
        rows.append(row | in_fresh_processes(memory, folder, name))
        progress.note(str(rows[-1]))
    return {"rows": rows}


def memory(folder: Folder, name: str) -> Row:
    """Return what a process takes that trains an epoch."""
    torch.set_num_threads(1)
    step = light(folder.side)
    reset_peak_memory(CPU)
    level = peak_memory_mib(CPU) or 0.0
    with ExitStack() as stack:
        CONTENDERS[name](folder, stack)(1, step)
        held = sum(map(proportional, family(os.getpid())))
    return {"peak_mib": (peak_memory_mib(CPU) or 0.0) - level, "all_processes_mib": held}


def family(process: int) -> list[int]:
    """Return a process and those that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(each for child in children for each in family(int(child)))]


def processor_seconds() -> float:
    """Return the seconds that this process and those that it started have computed."""
    ticks = 0
    for process in family(os.getpid()):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def proportional(process: int) -> float:
    """Return the memory of a process in MiB, of what it shares its part (PSS)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 2**10


def start(folder: Folder, steps: int) -> Row:
    """Return how soon a large data set begins that is cached already, how long a seek takes, and what memory a run."""
    torch.set_num_threads(1)
    step = light(folder.side)
    reset_peak_memory(CPU)
    level, clock = peak_memory_mib(CPU) or 0.0, Clock()
    batches = loaded(folder, memory=0)
    trained(batches, 1, step, last=1)
    first, half = clock.lap(), len(batches) // 2
    trained(batches, 2, step, half, half + 1)
    seek = clock.lap()
    images = trained(batches, 3, step, last=steps or None)
    rest = clock.lap()
    return {
        "images": len(batches.splits.train),
        "decoded_bytes": batches.splits.train.inputs.nbytes,
        "first_batch_seconds": first,
        "seek_seconds": seek,
        "trained_images": images,
        "images_per_second": images / rest[0],
        "peak_mib": (peak_memory_mib(CPU) or 0.0) - level,
        "process_peak_mib": peak_memory_mib(CPU),
    }


TABLES = {
    "rates": {
        "contender": "{contender}",
        "images/s": "{images_per_second:,.0f}",
        "quartiles": "{quartiles[0]:,.0f} to {quartiles[1]:,.0f}",
        "/ in memory": "{over_in_memory:.2f}",
        "/ decoders alone": "{over_decoders_alone:.2f}",
        "processors, ms an image": "{processor_ms:.2f}",
        "peak, MiB": "{peak_mib:,.0f}",
        "all processes, MiB": "{all_processes_mib:,.0f}",
    },
    "start": {
        "images": "{images:,}",
        "first batch": "{first_batch_seconds[0]:.1f} s (computing {first_batch_seconds[1]:.2f})",
        "seek": "{seek_seconds[0]:.2f} s (computing {seek_seconds[1]:.2f})",
        "trained on": "{trained_images:,}",
        "images/s": "{images_per_second:,.0f}",
        "peak above the network's, MiB": "{peak_mib:,.0f}",
        "peak, MiB": "{process_peak_mib:,.0f}",
    },
}
"""Columns and how a row fills them."""


def table(what: str, rows: Sequence[Row]) -> str:
    """Return rows as a table of Markdown."""
    columns = TABLES[what]
    lines = [columns, ["---"] * len(columns), *([cell.format(**row) for cell in columns.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _named(word: str) -> str:
    return Path(word).name if Path(word).is_absolute() else word


class Clock:
    """Tells the seconds that went by since it was asked last, and those that this process computed."""

    def __init__(self) -> None:
        self.lap()

    def lap(self) -> tuple[float, float]:
        """Return both, and begin anew."""
        then, self.now = getattr(self, "now", (0.0, 0.0)), (time.perf_counter(), time.process_time())
        return self.now[0] - then[0], self.now[1] - then[1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rates", "start"))
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--name", default="folder", help="of the data set, as data.name has it")
    parser.add_argument("--side", type=int, default=64, metavar="S", help="pixels that a network gets")
    parser.add_argument("--crops", action="store_true", help="random boxes of the originals, resized")
    parser.add_argument("--batch-size", type=int, default=128, metavar="B")
    parser.add_argument("--cache", default="", metavar="DIR", help="for decoded images")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="of `start`; 0: an epoch")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args, progress = parser.parse_args(arguments), Console()
    torch.set_num_threads(1)
    folder = Folder(args.folder, args.side, args.crops, args.cache, args.name, args.batch_size)
    load = os.getloadavg()[0]
    if args.what == "rates":
        result = rates(folder, args.rounds, progress)
    else:
        result = {"rows": [in_fresh_processes(start, folder, args.steps) for _ in range(args.rounds)]}
    told = {"side": args.side, "crops": args.crops, "batch_size": args.batch_size, "workers": folder.workers, "threads": 1}
    about = {
        "command": shlex.join(["python", "benchmarks/data/bench.py", *map(_named, sys.argv[1:])]),
        "settings": told,
        "load_before_and_after": (load, os.getloadavg()[0]),
        "provenance": provenance(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**about, **result}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(args.what, result["rows"]))
    progress.note(table(args.what, result["rows"]))


if __name__ == "__main__":
    main()
