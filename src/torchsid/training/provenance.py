"""Where a result comes from: date, versions, hardware, source, and for a run its data and its network."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from torchsid.__about__ import __version__
from torchsid.core.peak_memory import kept_bytes, peak_memory_mib
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError
from torchsid.learners.locality import check_locality
from torchsid.training.config import config_sha256
from torchsid.training.setup import Setup

_LOCALITY_SAMPLES = 16
_NO_VARIANCE = "Expected more than 1 value per channel"  # as PyTorch says it
_PACKAGES = ("numpy", "pydantic", "safetensors", "pyarrow", "pillow")


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Return date, versions, hardware and git state, ready for JSON.

    Versions are those of Python and of the packages that the numbers depend on; hardware is the processor, usable cores, PyTorch's
    threads, memory in GiB, and the device.
    """
    # The installed name has no build suffix where a wheel was built for one device only; torch itself knows.
    versions = {"torchsid": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    cpu = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    hardware = {
        "cpu": cpu[1] if cpu else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1) if memory else None,
        "device": torch.cuda.get_device_name(device) if device and device.type == "cuda" else "cpu",
    }
    return {"date": now(), "versions": versions, "hardware": hardware, "git": git_state()}


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(directory: Path | None = None) -> dict[str, Any] | None:
    """Return commit and whether there are uncommitted changes, or None outside a repository with a commit."""
    git = partial(subprocess.run, cwd=directory, capture_output=True, text=True, check=True, timeout=10)
    try:
        commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
        status = git(["git", "status", "--porcelain"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(status)}


def new_manifest(setup: Setup, command: str) -> dict[str, Any]:
    """Return what manifest.json says at the start of a run.

    `kept_bytes` is the most that autograd keeps for backward in the first training step, which is run and leaves no trace. A
    gradient in closed form (schedule `batched`) keeps a block of activations outside autograd, which is not counted.
    `remembered_bytes` is what the method keeps beside the network from step to step, and the task of samples to see again.

    Raises:
        ConfigError: a batch is too small for the network.
    """
    config, splits, learner, module = setup.config, setup.splits, setup.learner, setup.learner.module
    machine, locality, batch = provenance(setup.device), _locality(setup), setup.batches.examples(next(setup.batches.of_epoch(1)))
    plan = module.plan if isinstance(module, StagedCascade) else None
    with without_side_effects(module), setup.autocast():
        module.train()
        try:
            kept = kept_bytes(module, lambda: learner.backward(batch.x, batch.target, weight=batch.weight))
        except ValueError as error:
            if _NO_VARIANCE not in str(error):
                raise
            why = "gives a BatchNorm a single value a channel, which has no variance"
            raise ConfigError([f"training.batch_size = {config.training.batch_size} {why}: set it to 2 or more"]) from None
    return {
        "torchsid": __version__,
        "started": machine.pop("date"),
        "finished": None,
        "status": "running",
        "command": command,
        "config_sha256": config_sha256(config),
        **machine,
        "seed": config.training.seed,
        "recipe": config.recipe,
        "label": config.label,
        "phases": setup.batches.task.phases,
        "data": {
            **splits.about,
            "fingerprint": dict(splits.fingerprint),
            **{name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "skipped": list(splits.skipped),
        },
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "plan": [asdict(stage) for stage in plan.stages] if plan else None,
        "head_share": plan.head_share if plan else None,
        "locality": locality,
        "kept_bytes": kept,
        "remembered_bytes": sum(each.nbytes for each in learner.state().values()) + splits.about.get("remembered_bytes", 0),
        "train_seconds": 0.0,
        "peak_memory_mib": peak_memory_mib(setup.device),
    }


def data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how the data of two manifests differ, a sentence each; none where they are the same, wherever they lie."""
    changes = []
    counted = ("class_names", "train", "validation", "test")
    for name in [name for name in counted if name in before and before[name] != now.get(name)]:
        then, found = (", ".join(value) if isinstance(value, list) else value for value in (before[name], now.get(name)))
        what = "the classes are" if name == "class_names" else f"samples for {name}:"
        changes.append(f"{what} {found}, and were {then} when the run began")
    old, new = before["fingerprint"], now["fingerprint"]
    for name in dict.fromkeys([*old, *new]):
        if name not in new or name not in old:
            changes.append(f"{'not there any more' if name not in new else 'new'}: {name}")
        elif old[name] != new[name]:
            what = name.removeprefix("arrays/")
            changes.append(f"other bytes: {name}" if what == name else f"other {what} samples, labels or order")
    return changes


def _locality(setup: Setup) -> dict[str, Any]:
    """Return what `check_locality` finds on a small batch; methods without a window do not claim to be local."""
    learner, batch = setup.learner, setup.batches.first(_LOCALITY_SAMPLES)
    if learner.window is None:
        detail = "global: the gradient crosses all stages; not local by design"
        return {"verdict": "global", "stages": getattr(learner.module, "depth", 1), "runs": 0, "detail": detail}
    report = check_locality(learner, batch.x, batch.target, weight=batch.weight)
    verdict, detail = "local", str(report)
    if learner.window >= report.stages > 1:
        verdict, detail = "global", f"global: the window of {learner.window} stages reaches the input; not local by design"
    elif learner.window > 1:
        verdict, detail = "windowed", detail.replace("local:", "windowed:", 1)
    return {"verdict": verdict, "stages": report.stages, "runs": report.runs, "detail": detail}
