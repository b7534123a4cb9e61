"""The slow line: what its parts promise, and one real line where root and TUN are to be had."""

import os
import shutil
import socket
import subprocess
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from slow_link.figure import throughput  # noqa: E402
from slow_link.link import slow_link  # noqa: E402
from slow_link.namespaces import TUN, LinkError, check, ends  # noqa: E402
from slow_link.shaping import DelayLine, TokenBucket  # noqa: E402
from slow_link.train import add_arguments, contenders, summary, text  # noqa: E402

from torchsid.bench.workload import Workload  # noqa: E402

NAME = "sidtest"  # not the name of the benchmark's own line
ROUNDING = 1e-6

sizes = st.integers(1, 9000)
arrivals = st.lists(st.tuples(st.floats(0, 0.1), sizes), min_size=1, max_size=40)  # seconds between packets, and their sizes


def clock(packets: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Arrival times in place of the gaps between them."""
    return list(zip(accumulate(gap for gap, _ in packets), (size for _, size in packets), strict=True))


@given(arrivals, st.floats(1e3, 1e7), st.floats(100, 1e5))
def test_a_bucket_keeps_order_lets_nothing_pass_early_and_no_more_than_burst_and_rate(
    packets: list[tuple[float, int]], rate: float, burst: float
) -> None:
    bucket = TokenBucket(rate, burst)
    passed = [bucket.pass_time(size, now) for now, size in clock(packets)]
    assert all(before <= after for before, after in pairwise(passed))
    assert all(time >= now for time, (now, _) in zip(passed, clock(packets), strict=True))
    for first in range(len(passed) if burst >= 9000 else 0):  # what is larger than the burst passes whole
        for time, total in zip(passed[first:], accumulate(size for _, size in packets[first:]), strict=True):
            assert total <= burst + rate * (time - passed[first]) + ROUNDING * rate


def test_a_busy_bucket_passes_exactly_its_rate() -> None:
    bucket = TokenBucket(rate=1000, burst=100)
    assert [bucket.pass_time(100, 0.0) for _ in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert bucket.pass_time(300, 0.3) == pytest.approx(0.4)  # larger than the burst: the debt is paid by who comes next
    assert bucket.pass_time(100, 0.4) == pytest.approx(0.7)
    assert bucket.pass_time(100, 9.0) == 9.0


@given(arrivals, st.floats(0, 0.5), st.one_of(st.none(), st.floats(1e4, 1e7)))
def test_a_line_delivers_all_in_order_and_none_early(packets: list[tuple[float, int]], delay: float, rate: float | None) -> None:
    line = DelayLine(delay, capacity=float("inf"), bucket=TokenBucket(rate, 9000) if rate else None)
    sent = [(now, index.to_bytes(2, "big") + bytes(size)) for index, (now, size) in enumerate(clock(packets))]
    for now, packet in sent:
        line.put(packet, now)
    received = []
    while (due := line.due()) < float("inf"):
        assert list(line.take(due - 1e-4)) == []
        received += [(due, packet) for packet in line.take(due)]
    assert [packet for _, packet in received] == [packet for _, packet in sent]
    assert all(out >= into + delay for (out, _), (into, _) in zip(received, sent, strict=True))
    assert line.held == line.dropped == 0
    assert line.carried == sum(len(packet) for _, packet in sent)


@given(st.lists(sizes, min_size=1, max_size=40), st.integers(1, 20000))
def test_a_line_holds_no_more_than_its_capacity(packets: list[int], capacity: int) -> None:
    line = DelayLine(1.0, capacity)
    for size in packets:
        line.put(bytes(size), 0.0)
        assert line.held <= capacity
    kept = list(line.take(1.0))
    assert len(kept) + line.dropped == len(packets)
    assert len(kept) == 0 if min(packets) > capacity else len(kept) > 0


@pytest.mark.parametrize(("delay", "rate"), [(-0.1, None), (0.1, 0), (0.1, -1e6)])
def test_impossible_lines_are_refused(delay: float, rate: float | None) -> None:
    with pytest.raises(ValueError, match="delay_s"), slow_link(delay, rate, name=NAME):
        pass


def test_what_is_missing_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("slow_link.namespaces.TUN", Path("/dev/net/none"))
    with pytest.raises(LinkError) as refusal:
        check(ends(NAME))
    assert all(word in str(refusal.value) for word in ("sudo", "iproute2", "modprobe tun"))


MEASURED = [(0, 0.1, 0.0, None), (1, 0.2, 0.0, None), (0, 0.4, 50.0, None), (1, 0.4, 50.0, None), (0, 0.1, 25.0, 1e8)]
ROWS: list[dict[str, Any]] = [
    {"contender": "A", "pass": number, "delay_ms": delay, "rate_bits": rate, "step_s": [step, step, 9.0], "sent_bytes": 2e6}
    for number, step, delay, rate in MEASURED
]


def test_throughput_is_relative_to_the_line_without_delay_of_the_same_pass() -> None:
    svg = throughput(summary(ROWS)).svg
    assert "A: 100 to 37.5" in svg
    assert "25 ms" not in svg  # of lines with a limit
    assert [(each["delay_ms"], each["relative"], each["spread"]) for each in summary(ROWS)] == [
        (0.0, 1.0, (1.0, 1.0)),
        (50.0, pytest.approx(0.375), (0.25, 0.5)),
        (25.0, 1.0, (1.0, 1.0)),
    ]


def test_bytes_are_told_of_a_token_each_way() -> None:
    workload = Workload(model="gpt", stages=(4,), batch_size=8, context=5)
    rows = [{**row, "there_and_back_bytes": [4000.0, 400.0]} for row in ROWS]
    shown = text(rows, workload, Namespace(stages=4, batch_size=8))
    assert "bytes a token, there / back" in shown
    assert " 100 / 10 |" in shown


def test_contenders_have_names_of_their_own() -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    found = contenders(parser.parse_args(["--micro-batches", "2", "4", "--queue", "5"]))
    assert len({each.name for each in found}) == len(found) == 3 + 2 * 2
    assert {each.queue for each in found[:3]} == {1, 5}


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None or not TUN.exists(), reason="run it as root, with ip and /dev/net/tun"
)


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout


ECHO = """
import socket
with socket.create_server(("10.77.0.2", 5000)) as server:
    print("listening", flush=True)
    peer, _ = server.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
"""
CALL = """
import socket, time
with socket.create_connection(("10.77.0.2", 5000)) as line:
    for sent in (b"x", bytes(range(256)) * 4096):
        start, received = time.monotonic(), b""
        line.sendall(sent)
        while len(received) < len(sent):
            received += line.recv(65536)
        assert received == sent, "altered or out of order"
        print(time.monotonic() - start)
"""


@needs_root
def test_a_real_line_delays_loses_nothing_and_leaves_nothing_behind() -> None:
    with slow_link(0.05, 80e6, name=NAME) as link:
        with pytest.raises(LinkError, match=rf"{NAME}-0 and {NAME}-1 exist"), slow_link(0, name=NAME):
            pass
        with subprocess.Popen(link.ends[1].inside(sys.executable, "-c", ECHO), stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            call = subprocess.run(link.ends[0].inside(sys.executable, "-c", CALL), capture_output=True, text=True)
        assert call.returncode == 0, call.stderr
        assert all(float(seconds) >= 2 * 0.05 for seconds in call.stdout.split())
        there, back = link.counters()
        assert there["bytes"] >= 2**20 <= back["bytes"]
        assert there["dropped"] == back["dropped"] == 0
    assert NAME not in namespaces()
    assert "slow" not in "".join(name for _, name in socket.if_nameindex())


@needs_root
def test_a_line_goes_with_the_process_that_opened_it() -> None:
    script = f"""
        import os, signal, subprocess, sys
        sys.path.insert(0, {str(BENCHMARKS)!r})
        from slow_link.link import slow_link
        with slow_link(0.01, name={NAME!r}) as link:
            inside = subprocess.Popen(link.ends[0].inside("sh", "-c", "echo entered; exec sleep 60"), stdout=subprocess.PIPE)
            inside.stdout.readline()
            print(link.relay.pid, inside.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as killed:
        assert killed.stdout is not None
        relay, inside = map(int, killed.stdout.readline().split())
        assert killed.stdout.read() == ""  # until the last process that holds it is gone
    assert NAME not in namespaces()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() for pid in (relay, inside))
