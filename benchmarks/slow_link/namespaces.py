"""The two ends of a line: network namespaces, each with one TUN device, made and removed with `ip`."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEVICE = "slow0"  # in both namespaces
MTU = 65000
"""Bytes of a packet at most. Near the 65535 of IPv4, as the relay's cost is one a packet: with 1500 it could not carry 200 MB/s."""
WINDOW = 256 * 2**20
"""Largest TCP buffers in bytes: about twice what 200 MB/s put on the way in 2 × 100 ms, and the kernel's own share of it."""
TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # from linux/if_tun.h


class LinkError(RuntimeError):
    """This machine cannot have the line; says all that is missing."""


@dataclass(frozen=True)
class End:
    """One end of the line."""

    namespace: str
    address: str
    device: str = DEVICE

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs `command` in this namespace."""
        return ["ip", "netns", "exec", self.namespace, *command]


def ends(name: str) -> tuple[End, End]:
    """Return the two ends of the line of this name."""
    return End(f"{name}-0", "10.77.0.1"), End(f"{name}-1", "10.77.0.2")


def check(line: tuple[End, End]) -> None:
    """Refuse where the line cannot be made, with all reasons.

    Raises:
        LinkError: not root, no `ip`, no TUN, or namespaces of this name left over.
    """
    problems = []
    if os.geteuid() != 0:
        problems.append("network namespaces need root: run it with sudo")
    if shutil.which("ip") is None:
        problems.append("the command `ip` is missing: install iproute2")
    elif left := [end.namespace for end in line if end.namespace in _existing()]:
        remove = "; ".join(f"ip netns del {name}" for name in left)
        problems.append(f"the namespaces {' and '.join(left)} exist: another run is using them, or one was killed; then: {remove}")
    if not TUN.exists():
        problems.append(f"{TUN} is missing: load the kernel module with `modprobe tun`, or pass the device to the container")
    if problems:
        raise LinkError("no slow link on this machine:" + "".join(f"\n  - {problem}" for problem in problems))


def create(end: End, peer: End) -> int:
    """Make a namespace and its TUN device; return the file to read packets from and write packets to.

    The device is born here and moved: the file stays connected to it, and the device goes when the file is closed.
    """
    _ip("netns", "add", end.namespace)
    file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    answer = fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", b"slow%d", _IFF_TUN | _IFF_NO_PI))
    born_as = answer[:16].rstrip(b"\0").decode()
    _ip("link", "set", "dev", born_as, "netns", end.namespace, "name", end.device)
    inside = ("-n", end.namespace)
    _ip(*inside, "link", "set", "dev", "lo", "up")
    _ip(*inside, "link", "set", "dev", end.device, "mtu", str(MTU), "txqueuelen", "2000", "up")
    _ip(*inside, "address", "add", end.address, "peer", peer.address, "dev", end.device)
    settings = {
        "tcp_rmem": f"4096 131072 {WINDOW}",
        "tcp_wmem": f"4096 131072 {WINDOW}",
        "tcp_congestion_control": "reno",  # which every kernel has and allows in a namespace
        "tcp_slow_start_after_idle": 0,  # contenders wait for their turns, and the first steps of a turn count
    }
    for key, value in settings.items():
        subprocess.run(end.inside("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{key}"), check=True)
    return file


def remove(line: tuple[End, End]) -> None:
    """Kill what runs in the namespaces and remove them; those that are gone already are fine."""
    for end in line:
        if end.namespace not in _existing():
            continue
        for pid in _ip("netns", "pids", end.namespace).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(subprocess.CalledProcessError):  # the other process that cleans up was faster
            _ip("netns", "del", end.namespace)


def _existing() -> set[str]:
    return {line.split()[0] for line in _ip("netns", "list").splitlines()}


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
