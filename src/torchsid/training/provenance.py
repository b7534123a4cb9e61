"""Where a number comes from: date, versions, hardware, state of the source."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from torchsid.__about__ import __version__

_PACKAGES = ("numpy", "pydantic", "safetensors", "pyarrow", "pillow")


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Return date, versions, hardware and git state, ready for JSON."""
    return {"date": now(), "versions": versions(), "hardware": hardware(device or torch.device("cpu")), "git": git_state()}


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    found = {"torchsid": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    # The installed name has no build suffix where a wheel was built for one device only; torch itself knows.
    return found | {"torch": torch.__version__}


def hardware(device: torch.device) -> dict[str, Any]:
    """Return processor, usable cores, PyTorch's threads, memory in GiB, and the device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1) if memory else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def git_state(directory: Path | None = None) -> dict[str, Any] | None:
    """Return commit and whether there are uncommitted changes, or None outside a repository with a commit."""
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(status)}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
