"""Round trips, throughput and messages over the line, without training."""

import argparse
from typing import Any

from slow_link.link import slow_link
from slow_link.probes import MIB
from slow_link.record import table, write
from slow_link.workers import run_workers

DELAYS_MS = (0.0, 25.0, 50.0, 100.0)
_PAIRS = ((1, 1), (8, 1), (1, 8), (2, 2), (4, 4), (8, 8), (16, 16))  # sends under way, receives posted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=100.0, metavar="MBIT", help="of the limited line, each way")
    parser.add_argument("--sizes", type=int, nargs="+", default=(1, 4, 16), metavar="MIB", help="of the messages")


def run(args: argparse.Namespace) -> None:
    rows = []
    for delay_ms in args.delays:
        for rate in (None, 1e6 * args.rate):
            job = _limited_job() if rate else _job(args, delay_ms / 1e3)
            with slow_link(delay_ms / 1e3, rate) as link:
                sent, received = run_workers(link, "slow_link.probes", job)
                rows.append({"delay_ms": delay_ms, "rate_bits": rate, "counters": link.counters()})
            # The receiver measures; round trips start at rank 0.
            rows[-1] |= {**received, "round_trip": sent["round_trip"]}
            print(f"{delay_ms:g} ms, {'no limit' if rate is None else f'{args.rate:g} Mbit/s'}: done", flush=True)
    write(args, "line", rows, _text(rows))


def _job(args: argparse.Namespace, delay_s: float) -> dict[str, Any]:
    streams = [{"window": None, "total": 600 * MIB}]
    for window in (MIB, 4 * MIB):
        streams.append({"window": window, "total": 200 * MIB if delay_s == 0 else int(20 * window)})
    messages = [
        {"size": size * MIB, "sends": sends, "receives": receives, "count": 2 * max(8, sends, receives)}
        for size in args.sizes
        for sends, receives in _PAIRS
    ]
    return {"stream": streams, "messages": messages}


def _limited_job() -> dict[str, Any]:
    return {"stream": [{"window": None, "total": 60 * MIB}], "messages": []}


def _text(rows: list[dict[str, Any]]) -> str:
    lines = table(
        ("one way", "limit", "round trip", "TCP, window by the kernel", "window 1 MiB", "window 4 MiB", "packets dropped"),
        [
            (
                f"{row['delay_ms']:g} ms",
                f"{row['rate_bits'] / 1e6:g} Mbit/s" if row["rate_bits"] else "–",
                f"{1e3 * row['round_trip']['round_trip_s']:.2f} ms",
                *[f"{each['bytes_per_s'] / 1e6:.1f} MB/s" for each in row["stream"]],
                *["–"] * (3 - len(row["stream"])),
                f"{sum(each['dropped'] for each in row['counters'])}",
            )
            for row in rows
        ],
    )
    free = [row for row in rows if row["messages"]]
    heads = ("message", "sends under way", "receives posted", *(f"{row['delay_ms']:g} ms" for row in free))
    messages = table(
        heads,
        [
            (
                f"{each[0]['size'] // MIB} MiB",
                str(each[0]["sends"]),
                str(each[0]["receives"]),
                *(f"{1e3 * cell['seconds_a_message']:.0f} ms" for cell in each),
            )
            for each in zip(*(row["messages"] for row in free), strict=True)
        ],
    )
    return f"{lines}\nTime a gloo message, by delay one way:\n\n{messages}"
