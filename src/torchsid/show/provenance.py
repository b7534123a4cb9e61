"""Where the numbers come from: all that is needed to judge a run and to repeat it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchsid.show.compare import Comparison
from torchsid.show.cuts import head_parameters
from torchsid.show.record import RunRecord
from torchsid.show.wording import counted, duration, percent

_ABSENT = "not recorded"


@dataclass(frozen=True)
class Fact:
    """One line of the provenance table: a value a run, or a single one on which all runs agree."""

    name: str
    values: tuple[str, ...]


def ordered_runs(result: Comparison) -> tuple[RunRecord, ...]:
    """Return the runs of a comparison in the order of the provenance table's columns."""
    return tuple(run for method in result.methods for run in method.runs)


def facts(runs: tuple[RunRecord, ...]) -> tuple[Fact, ...]:
    """Return the provenance table of the runs."""
    columns = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, tuple(column.get(name, _ABSENT) for column in columns)) for name in names]
    return tuple(Fact(name, values[:1] if len(set(values)) == 1 else values) for name, values in rows)


def origin(about: Mapping[str, Any]) -> dict[str, str]:
    """Return versions, hardware and commit, of a manifest or of `torchsid.training.provenance`, as lines of the table."""
    found = {f"Version of {name}": _text(version) for name, version in about["versions"].items()}
    found |= {f"Hardware: {name.replace('_', ' ')}": _text(value) for name, value in about["hardware"].items()}
    return found | {"Git": _git(about.get("git"))}


def _facts(run: RunRecord) -> dict[str, str]:
    manifest, data = run.manifest, run.manifest["data"]
    found = {
        "Method": run.label,
        "Recipe": _text(manifest["recipe"]),
        "Seed": str(run.seed),
        "Status": _text(manifest["status"]),
        "Started": _when(manifest.get("started")),
        "Finished": _when(manifest.get("finished")),
        "Training time": duration(run.train_seconds) if run.train_seconds else _ABSENT,
        "Epochs": str(len(run.epochs)),
        "Steps skipped": str(sum(int(event.get("skipped_steps") or 0) for event in run.epochs)),
        "Network": _network(run.config.get("model", {})),
        "Parameters": _parameters(manifest),
        "torchsid": _text(manifest["torchsid"]),
    }
    found |= origin(manifest)
    found |= {
        "Data": _text(data["name"]),
        "Images: training, validation, test": " / ".join(
            f"{data[split]:,}" if isinstance(data.get(split), int) else "–" for split in ("train", "validation", "test")
        ),
        "Images skipped": str(len(data.get("skipped") or [])),
        "Label noise": _noise(data.get("noise")),
        "SHA-256 of config.toml": _text(manifest.get("config_sha256")),
    }
    return found | {f"SHA-256 of {name}": digest for name, digest in run.fingerprint.items()}


def _network(model: Mapping[str, Any]) -> str:
    trunk, extractor, kind = model.get("trunk"), model.get("extractor"), model.get("network")
    if not trunk and not extractor:
        return _ABSENT
    if kind == "plain":
        return str(trunk or f"{extractor} and one linear layer")
    stages = counted(model["depth"], "stage")
    return f"{trunk}, cut into {stages}" if trunk else f"{extractor}, shared by {stages}"


def _parameters(manifest: Mapping[str, Any]) -> str:
    count, plan = manifest.get("parameters"), manifest.get("plan")
    if count is None:
        return _ABSENT
    return f"{count:,}{f', of which {head_parameters(plan):,} in belief heads' if plan else ''}"


def _text(value: object) -> str:
    return _ABSENT if value is None or value == "" else f"{value:.3g}" if isinstance(value, float) else str(value)


def _when(moment: object) -> str:
    """Return an ISO moment as `2026-08-01 10:00:12 +00:00`."""
    return re.sub(r"T(\d\d:\d\d:\d\d)(?:\.\d+)?", r" \1 ", _text(moment)).strip()


def _git(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "not in a git repository"
    return f"{git.get('commit', _ABSENT)}{', with uncommitted changes' if git.get('dirty') else ''}"


def _noise(noise: Mapping[str, Any] | None) -> str:
    if not noise:
        return "none"
    shares = [(word, noise[key]) for word, key in (("asked", "rate"), ("measured", "measured")) if noise.get(key)]
    details = ", ".join(f"{percent(float(share))} {word}" for word, share in shares)
    return f"{noise.get('kind', 'unknown')}: {details}" if details else "none"
