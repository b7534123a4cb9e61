"""Where a result comes from: software, hardware, source and data."""

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from torchsid import __version__
from torchsid.core.cut_plan import Plan
from torchsid.core.kept_bytes import kept_bytes
from torchsid.core.learner import Learner
from torchsid.core.process_memory import peak_memory_mib
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.learners.locality import check_locality
from torchsid.learners.sid import SID
from torchsid.training.batches import Batch
from torchsid.training.provenance import git_state, hardware, now, versions
from torchsid.training.setup import Setup
from torchsid.training.toml import config_sha256


def new_manifest(setup: Setup, locality: dict[str, Any], command: str) -> dict[str, Any]:
    """Return what manifest.json says at the start of a run."""
    config, splits = setup.config, setup.splits
    plan = plan_of(setup.learner.module)
    return {
        "torchsid": __version__,
        "started": now(),
        "finished": None,
        "status": "running",
        "command": command,
        "config_sha256": config_sha256(config),
        "versions": versions(),
        "hardware": hardware(setup.device),
        "git": git_state(),
        "seed": config.training.seed,
        "recipe": config.recipe,
        "label": config.label,
        "data": {
            **splits.about,
            "fingerprint": dict(splits.fingerprint),
            "train": len(splits.train),
            "validation": len(splits.validation),
            "test": len(splits.test),
            "skipped": list(splits.skipped),
        },
        "parameters": sum(parameter.numel() for parameter in setup.learner.module.parameters()),
        "plan": [asdict(stage) for stage in plan.stages] if plan else None,
        "head_share": plan.head_share if plan else None,
        "locality": locality,
        "kept_bytes": kept_bytes_of(setup),
        "train_seconds": 0.0,
        "peak_memory_mib": peak_memory_mib(setup.device),
    }


def plan_of(module: nn.Module) -> Plan | None:
    """Return where a staged network is cut, and what each stage and its head cost; None for any other network."""
    return module.plan if isinstance(module, StagedCascade) else None


def kept_bytes_of(setup: Setup) -> int:
    """Return the most bytes that autograd keeps for backward in the first training step, which is run and leaves no trace.

    A gradient in closed form (schedule `batched`) keeps a block of activations outside autograd, which is not counted.
    """
    learner, training = setup.learner, setup.config.training
    batch = next(setup.batches.epoch(1))
    bfloat16 = torch.autocast(batch.x.device.type, torch.bfloat16, enabled=training.precision == "bfloat16")
    with without_side_effects(learner.module), bfloat16:
        learner.module.train()
        return kept_bytes(learner.module, lambda: learner.backward(batch.x, batch.target, weight=batch.weight))


def locality_of(learner: Learner, batch: Batch) -> dict[str, Any]:
    """Return what `check_locality` finds on a small batch; other methods than SID do not claim to be local.

    Raises:
        LocalityError: a stage's loss reaches another stage.
    """
    if not isinstance(learner, SID):
        detail = "global: the gradient crosses all stages; not local by design"
        return {"verdict": "global", "stages": getattr(learner.module, "depth", 1), "runs": 0, "detail": detail}
    report = check_locality(learner, batch.x, batch.target)
    found = {"stages": report.stages, "runs": report.runs}
    if learner.window == 1:
        return {"verdict": "local", **found, "detail": str(report)}
    if learner.window < report.stages:
        return {"verdict": "windowed", **found, "detail": str(report).replace("local:", "windowed:", 1)}
    return {
        "verdict": "global",
        **found,
        "detail": f"global: the window of {learner.window} stages reaches the input; not local by design",
    }
