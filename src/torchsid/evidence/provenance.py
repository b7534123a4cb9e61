"""Where a number comes from: versions, hardware, state of the source."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from torchsid.__about__ import __version__

_PACKAGES = ("torch", "numpy", "pydantic", "safetensors", "pyarrow", "pillow")


def provenance() -> dict[str, object]:
    """Return date, versions, hardware and git state, ready for JSON."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "hardware": hardware(),
        "git": git_state(),
    }


def versions() -> dict[str, str]:
    """Return the versions of torchsid, Python and the packages that numbers depend on."""
    found = {"torchsid": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: str = "cpu") -> dict[str, object]:
    """Return processor, cores, torch threads, memory in GiB and the device."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
    }


def git_state() -> dict[str, object] | None:
    """Return commit and whether the tree is changed, of the checkout the package was imported from; None when there is none."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(here, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
