"""A generator of run directories whose numbers are computed from simulated beliefs, and so agree with each other."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from torchsid.tasks import Samples
from torchsid.training.evaluation import choose, evaluate

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Fake:
    """What kind of run is faked."""

    label: str = "SID"
    seed: int = 0
    depth: int = 5
    error: float = 0.05
    epochs: int = 12
    n: int = 360
    names: Sequence[str] = DIGITS
    status: str = "finished"
    validation: bool = True
    conflict: bool = True
    noise: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    plan: list[dict[str, Any]] | None = None
    kept_bytes: int | None = 25_165_824
    warnings: Sequence[str] = ()


Make = Callable[..., Path]


def stage(cut: str, head: str, head_parameters: int) -> dict[str, Any]:
    """One stage of a trunk that was cut."""
    about = {"cut": cut, "features": [64, 8, 8] if cut else [10], "parameters": 75_840, "operations": 77_270_000}
    return {
        **about,
        "kept_bytes": 2**20,
        "head": head,
        "head_parameters": head_parameters,
        "head_operations": 200 * head_parameters,
    }


PLAN = [stage("layer1", "conv", 38_000), stage("layer2.0", "linear", 6_000), stage("", "the model's own", 0)]


def maker(directory: Path) -> Make:
    """Return `make(name, **changes of Fake) -> path`."""

    def make(name: str = "run", **changes: Any) -> Path:
        return write(directory / name, replace(Fake(), **changes))

    return make


def write(path: Path, fake: Fake) -> Path:
    path.mkdir(parents=True)
    settings = {"model.depth": fake.depth, "learner.name": fake.label.lower(), "training.seed": fake.seed, **fake.settings}
    tables: dict[str, list[str]] = {}
    for key, value in settings.items():
        table, _, leaf = key.rpartition(".")
        tables.setdefault(table, []).append(f"{leaf} = {json.dumps(value)}")
    text = "\n".join(f"[{table}]\n" + "\n".join(lines) + "\n" for table, lines in tables.items())
    (path / "config.toml").write_text(text)
    (path / "manifest.json").write_text(json.dumps(manifest(path, fake)))
    (path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events(fake)))
    if fake.status == "finished":
        (path / "evaluation.json").write_text(json.dumps(evaluation(fake)))
        save_file(samples(fake), path / "samples.safetensors")
    return path


def beliefs(fake: Fake, salt: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Simulate `[L+1, n, C]` log-beliefs and `[n]` labels: evidence grows by stage; some change their mind, some err."""
    classes, salts = len(fake.names), [salt, fake.seed, sum(map(ord, fake.label))]
    labels = np.random.default_rng(salt).integers(classes, size=fake.n)  # every method meets the same test set
    generator = np.random.default_rng(salts)
    other = (labels + generator.integers(1, min(classes, 4), size=fake.n)) % classes
    final = np.where(generator.random(fake.n) < fake.error, other, labels)
    first = np.where(generator.random(fake.n) < 0.25, other, final)
    turn = generator.integers(1, fake.depth + 1, size=fake.n)
    strength = generator.gamma(6, 0.28, size=fake.n)
    log_beliefs = [np.full((fake.n, classes), -np.log(classes))]
    for stage in range(1, fake.depth + 1):
        aim = np.eye(classes)[np.where(stage > turn, final, first)] if stage < fake.depth else np.eye(classes)[final]
        grown = log_beliefs[-1] * 0.75 + (strength * 3 / np.sqrt(fake.depth))[:, None] * aim
        grown = grown + generator.normal(0, 0.15, grown.shape)
        log_beliefs.append(grown - np.logaddexp.reduce(grown, axis=1, keepdims=True))
    return np.stack(log_beliefs), labels


def split(fake: Fake, salt: int) -> dict[str, Any]:
    log_beliefs, labels = (torch.from_numpy(each) for each in beliefs(fake, salt))
    return evaluate(lambda x: log_beliefs[:, x], Samples(torch.arange(fake.n), labels), prepare=lambda x: x)


def evaluation(fake: Fake) -> dict[str, Any]:
    best = {"epoch": max(1, fake.epochs - 3), "validation": split(fake, 1) if fake.validation else None}
    last = {"epoch": fake.epochs, "validation": split(fake, 3) if fake.validation else None}
    return {"best": {**best, "test": split(fake, 2)}, "last": {**last, "test": split(replace(fake, seed=fake.seed + 50), 2)}}


def samples(fake: Fake) -> dict[str, Tensor]:
    log_beliefs, labels = (torch.from_numpy(each) for each in beliefs(fake, 2))
    chosen = choose(log_beliefs, Samples(torch.arange(fake.n), labels), 17)
    inputs = torch.randint(255, (len(chosen), 1, 4, 4), dtype=torch.uint8)
    shown = {"inputs": inputs, "target": labels[chosen], "log_beliefs": log_beliefs[:, chosen].float(), "indices": chosen}
    return {name: tensor.contiguous() for name, tensor in shown.items()}


def events(fake: Fake) -> list[dict[str, Any]]:
    generator, final = np.random.default_rng(fake.seed), split(fake, 1)
    lines: list[dict[str, Any]] = [{"event": "start"}, *({"event": "warning", "message": text} for text in fake.warnings)]
    for epoch in range(1, fake.epochs + 1):
        gap = float(np.exp(-epoch / 3))
        accuracy = [a * (1 - 0.6 * gap) + float(generator.normal(0, 0.004)) for a in final["accuracy"][1:]]
        validation = {"loss": gap + 0.1, "accuracy": [0.1, *accuracy], "kl": final["kl"]}
        about = {"event": "epoch", "epoch": epoch, "train_loss": 1.9 * gap, "train_accuracy": accuracy, "seconds": 0.8}
        costs = {"samples_per_second": 1800 + float(generator.normal(0, 20)), "memory_mib": 402.5, "skipped_steps": 0}
        conflict = cosines(fake.depth, generator) if fake.conflict and fake.depth > 1 else None
        lines.append({**about, **costs, "validation": validation if fake.validation else None, "conflict": conflict})
    return lines


def cosines(depth: int, generator: np.random.Generator) -> list[list[float]]:
    gradients = generator.normal(0.35, 1, (depth, 12))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    return (gradients @ gradients.T).tolist()  # type: ignore[no-any-return]


def manifest(path: Path, fake: Fake) -> dict[str, Any]:
    cascade = fake.depth > 1
    local = {"verdict": "local", "stages": fake.depth, "runs": 3, "detail": "Largest foreign gradient: 0."}
    plain = {"verdict": "not applicable", "stages": 1, "runs": 0, "detail": ""}
    return {
        "torchsid": "0.1.0",
        "finished": "2026-08-01T10:00:12+00:00" if fake.status == "finished" else None,
        "status": fake.status,
        "command": f"torchsid train digits --set training.seed={fake.seed} --out {path.name}",
        "versions": {"python": "3.12.4", "torch": "2.13.0", "numpy": "2.4.6"},
        "hardware": {"cpu": "A CPU", "cores": 8, "threads": 4, "memory_gib": 31.3, "device": "cpu"},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
        "seed": fake.seed,
        "recipe": "digits",
        "label": fake.label,
        "data": {
            "name": "digits",
            "fingerprint": {"digits.csv.gz": "cd" * 32},
            "train": 1257,
            "validation": 180 if fake.validation else 0,
            "test": fake.n,
            "class_names": list(fake.names),
            "noise": fake.noise,
        },
        "plan": fake.plan,
        "head_share": 0.04 if fake.plan else None,
        "locality": local if cascade else plain,
        **({"kept_bytes": fake.kept_bytes} if fake.kept_bytes else {}),  # older runs do not have it
        "remembered_bytes": 2**20,
        "train_seconds": 9.6 + fake.depth / 3 + fake.seed / 10,
        "peak_memory_mib": 402.5 + 6 * fake.depth,
    }


def believing(answers: Tensor, num_classes: int, sure: float = 0.7) -> Tensor:
    """Log-beliefs `[L+1, N, C]` of stages that give these answers `[L, N]`, after a uniform prior."""
    rest = (1 - sure) / (num_classes - 1)
    stages = torch.full((*answers.shape, num_classes), rest).scatter(-1, answers.unsqueeze(-1), sure)
    return torch.cat([torch.full_like(stages[:1], 1 / num_classes), stages]).log()
