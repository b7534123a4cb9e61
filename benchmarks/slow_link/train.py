"""Throughput of training steps over the line: SID's pipeline, GPipe and 1F1B."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import torch

from slow_link.figure import throughput
from slow_link.link import slow_link
from slow_link.record import table, write
from slow_link.workers import run_workers
from torchsid.bench.comparisons import PipelineSettings, plan_pipelines
from torchsid.bench.pipeline.bench import Turn, sent_a_step, steady_step_seconds, step_seconds
from torchsid.bench.pipeline.contenders import GPIPE, ONE_F_ONE_B, SID_PIPELINE, seconds_of_stages
from torchsid.bench.workload import Procedure as Method
from torchsid.bench.workload import Workload, blocks_setting, network_of
from torchsid.show.svg import standalone

DELAYS_MS = (0.0, 25.0, 50.0, 100.0)
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to train, with what only SID's pipeline has: heads, how features travel, and how many messages may be under way."""

    name: str
    method: Method
    wire: str = "float32"
    head: str = "auto"
    queue: int
    steps: int
    """In a turn, from an empty pipeline to an empty one."""


def contenders(args: argparse.Namespace) -> list[Contender]:
    """Return all that take turns on every line."""
    found = []
    for head in args.head:
        sid = partial(Contender, method=Method(SID_PIPELINE, args.stages), steps=args.steps, head=head)
        of = f", {head}" if head != "auto" else ""
        found.append(sid(name=f"SID{of}, queue {args.queue}", queue=args.queue))
        found.append(sid(name=f"SID{of}, queue {args.queue}, bfloat16", queue=args.queue, wire="bfloat16"))
        if args.queue > 1:
            found.append(sid(name=f"SID{of}, queue 1", queue=1))
    # Their pipeline is empty after every step, so that fewer steps tell as much.
    few = max(4, args.steps // 5)
    for schedule, title in ((GPIPE, "GPipe"), (ONE_F_ONE_B, "1F1B")):
        for number in args.micro_batches:
            method = Method(schedule, args.stages, number)
            found.append(Contender(name=f"{title}, {number} micro-batches", method=method, queue=1, steps=few))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="vit-blocks")
    parser.add_argument("--name", default="train", help="of the files")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int)
    parser.add_argument("--context", type=int, help="of a language model")
    parser.add_argument("--vocabulary", type=int, help="of a language model")
    parser.add_argument("--head", nargs="+", default=("auto",), metavar="KIND", help="of SID's stages, such as readout:refresh=50")
    parser.add_argument("--max-head-share", type=float, default=0.25)
    parser.add_argument("--candidates", type=int, default=0, help="outcomes that SID's early stages tell apart, and the batch's")
    parser.add_argument("--queue", type=int, default=8, help="messages under way, of SID's pipeline")
    parser.add_argument("--micro-batches", type=int, nargs="+", default=(2, 4))
    parser.add_argument("--rates", type=float, nargs="*", default=(100.0, 25.0), metavar="MBIT", help="of the limited lines")
    parser.add_argument("--limited-delay", type=float, default=25.0, metavar="MS", help="of the limited lines, one way")
    parser.add_argument("--steps", type=int, default=40, help="of SID in a turn, the others take a fifth")
    parser.add_argument("--rounds", type=int, default=2, help="of turns over one connection")
    parser.add_argument("--passes", type=int, default=2, help="over all lines, each with new connections")


def run(args: argparse.Namespace) -> None:
    settings = PipelineSettings(stages=args.stages, micro_batches=tuple(args.micro_batches), rounds=args.rounds, threads=1)
    blocks = args.blocks if blocks_setting(network_of(args.model)) else None
    names = ("batch_size", "width", "context", "vocabulary", "max_head_share", "candidates")
    sizes = {name: value for name in names if (value := getattr(args, name)) is not None}
    workload, *_ = (plan_pipelines([args.model], settings, blocks=blocks, head=head, **sizes)[0] for head in args.head)
    torch.set_num_threads(1)
    # Measured once: on every line each worker has the same stages, whatever the head.
    job = {
        "workload": asdict(workload),
        "settings": asdict(settings),
        "seconds": seconds_of_stages(workload),
        "contenders": [asdict(each) for each in contenders(args)],
    }
    # All are compared with the first.
    delays = dict.fromkeys((0.0, *args.delays))
    lines = [*((delay, None) for delay in delays), *((args.limited_delay, 1e6 * rate) for rate in args.rates)]
    rows: list[Row] = []
    for pass_ in range(args.passes):
        first = pass_ % len(lines)
        for delay_ms, rate_bits in [*lines[first:], *lines[:first]]:
            rows += [{"pass": pass_, **row} for row in _measure(job, delay_ms, rate_bits)]
            print(f"pass {pass_ + 1} of {args.passes}, {line_name(delay_ms, rate_bits)}: done", flush=True)
        write(args, args.name, rows, text(rows, workload, args))
        (args.out / f"{args.name}.svg").write_text(standalone(throughput(summary(rows))))


def _measure(job: dict[str, Any], delay_ms: float, rate_bits: float | None) -> list[Row]:
    with slow_link(delay_ms / 1e3, rate_bits) as link:
        measured, _ = run_workers(link, "slow_link.training_worker", job)
        dropped = sum(each["dropped"] for each in link.counters())
    rows = []
    for name, rounds in measured.items():
        turns = [[Turn(**{**turn, "busy": ()}) for turn in turns] for turns in rounds]
        rows.append(
            {
                "contender": name,
                "delay_ms": delay_ms,
                "rate_bits": rate_bits,
                "step_s": [step_seconds(each) for each in turns],
                "steady_step_s": [steady_step_seconds(each) for each in turns],
                "sent_bytes": sent_a_step(turns[0]),
                "there_and_back_bytes": [mean(sent_a_step([turn]) for turn in own) for own in zip(*turns, strict=True)],
                "dropped": dropped,
            }
        )
    return rows


def line_name(delay_ms: float, rate_bits: float | None) -> str:
    return f"{delay_ms:g} ms" + (f", {rate_bits / 1e6:g} Mbit/s" if rate_bits else "")


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return one row a contender and line: throughput over the same contender's on the line without delay, in the same pass."""
    passes: dict[tuple[str, float, float | None], dict[int, float]] = {}
    for row in rows:
        passes.setdefault((row["contender"], row["delay_ms"], row["rate_bits"]), {})[row["pass"]] = median(row["step_s"])
    result = []
    for (name, delay_ms, rate_bits), steps in passes.items():
        ratios = [passes[name, 0.0, None][pass_] / step for pass_, step in steps.items()]
        spread = (min(ratios), max(ratios))
        line = {"contender": name, "delay_ms": delay_ms, "rate_bits": rate_bits}
        result.append({**line, "relative": median(ratios), "spread": spread, "step_s": median(steps.values())})
    return result


def text(rows: Sequence[Row], workload: Workload, args: argparse.Namespace) -> str:
    """Return the table: a row a contender, a column a line; and what it says."""
    cells = {(row["contender"], row["delay_ms"], row["rate_bits"]): row for row in summary(rows)}
    lines = sorted({key[1:] for key in cells}, key=lambda line: (-(line[1] or float("inf")), line[0]))
    samples = workload.samples
    count, unit = workload.batch_size * samples.positions, samples.unit.removesuffix("s")
    sent = {row["contender"]: " / ".join(f"{size / count:,.0f}" for size in row["there_and_back_bytes"]) for row in rows}
    body = [(name, *(_cell(cells[name, *line]) for line in lines), sent[name]) for name in sent]
    return f"""{table(("", *(line_name(*line) for line in lines), f"bytes a {unit}, there / back"), body)}
Throughput over the same contender's without delay, median (least–most) of the passes, and time a step. Every turn starts and ends
with an empty pipeline, and all of it counts. {workload.title}, {args.stages} stages on two workers, batch of {args.batch_size}.
"""


def _cell(row: Row) -> str:
    low, high = row["spread"]
    return f"{100 * row['relative']:.0f} % ({100 * low:.0f}–{100 * high:.0f}), {1e3 * row['step_s']:.0f} ms"
