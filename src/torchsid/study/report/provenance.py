"""Where the numbers come from: all that is needed to judge a run and to repeat it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torchsid.show.tables import Cell, Table, table
from torchsid.show.text import duration, number, percent
from torchsid.study.runs import RunRecord, noise_share

_ABSENT = "not recorded"


def provenance_table(runs: Sequence[RunRecord]) -> Table:
    """Return one line a fact: a value a run, or once what holds for all of them."""
    columns = [facts(run) for run in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    values = {name: [column.get(name, _ABSENT) for column in columns] for name in names}
    rows = [[name, *(found[:1] + [""] * (len(runs) - 1) if len(set(found)) == 1 else found)] for name, found in values.items()]
    heads = [run.name for run in runs] if len(runs) > 1 else [""]
    caption = "A value that stands alone holds for every run" if len(runs) > 1 else ""
    return table(["", *heads], rows, caption)._replace(kind="facts")


def shared_facts(runs: Sequence[RunRecord], names: Sequence[str]) -> Table:
    """Return the facts whose names begin so, every value of several runs once."""
    columns = [facts(run) for run in runs]
    chosen = dict.fromkeys(name for column in columns for name in column if name.startswith(tuple(names)))
    rows = [[name, "; ".join(dict.fromkeys(column[name] for column in columns if name in column))] for name in chosen]
    return table(["", ""], rows)._replace(kind="facts")


def facts(run: RunRecord) -> dict[str, str]:
    """Return what tells where a run's numbers come from."""
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
        "Parameters": f"{manifest['parameters']:,}" if manifest.get("parameters") else _ABSENT,
        "torchsid": _text(manifest["torchsid"]),
    }
    found |= {f"Version of {name}": _text(version) for name, version in manifest["versions"].items()}
    found |= {f"Hardware: {name.replace('_', ' ')}": _text(value) for name, value in manifest["hardware"].items()}
    found |= {
        "Git": _git(manifest.get("git")),
        "Data": _text(data["name"]),
        "Samples": " / ".join(f"{data[split]:,} {split}" for split in ("train", "validation", "test") if data.get(split)),
        "Samples skipped": str(len(data.get("skipped") or [])),
        "Label noise": f"{run.noise.get('kind')}, {percent(noise_share(run.noise))} of the labels" if run.noise else "none",
        "SHA-256 of config.toml": _text(manifest.get("config_sha256")),
    }
    return found | {f"SHA-256 of {name}": digest for name, digest in run.fingerprint.items()}


def cut_table(method: str, manifest: Mapping[str, Any]) -> Table | None:
    """Return what each stage of a cut trunk and its belief head cost; None where no trunk was cut."""
    plan = manifest.get("plan")
    if not plan:
        return None
    columns = ["Stage", "Ends after", "Features", "Parameters", "Multiply-adds", "Kept for backward", "Belief head"]
    rows = [
        [
            Cell(str(place)),
            Cell(stage["cut"] or "the model"),
            Cell("×".join(map(str, stage["features"]))),
            Cell(f"{stage['parameters']:,}"),
            Cell(_operations(stage["operations"])),
            Cell(f"{stage['kept_bytes'] / 2**10:,.0f} KiB"),
            Cell(stage["head"], f"{stage['head_parameters']:,} parameters" if stage["head_parameters"] else ""),
            Cell(_operations(stage["head_operations"]) if stage["head_parameters"] else "–"),
        ]
        for place, stage in enumerate(plan, 1)
    ]
    share = percent(float(manifest.get("head_share") or 0), 1)
    return table([*columns, "Its multiply-adds"], rows, f"{method}: its stages, for one sample; heads add {share} of multiply-adds")


def _operations(count: int) -> str:
    return f"{number(count / 1e6)} M" if count >= 10_000 else f"{count:,}"


def _network(model: Mapping[str, Any]) -> str:
    trunk, extractor, kind = model.get("trunk"), model.get("extractor"), model.get("network")
    if not trunk and not extractor:
        return _ABSENT
    if kind == "plain":
        return str(trunk or f"{extractor}, linear layer")
    return f"{trunk}, cut; depth {model['depth']}" if trunk else f"{extractor}, shared; depth {model['depth']}"


def _text(value: object) -> str:
    return _ABSENT if value is None or value == "" else f"{value:.3g}" if isinstance(value, float) else str(value)


def _when(moment: object) -> str:
    """Return an ISO moment as `2026-08-01 10:00:12 +00:00`."""
    return re.sub(r"T(\d\d:\d\d:\d\d)(?:\.\d+)?", r" \1 ", _text(moment)).strip()


def _git(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "not in a git repository"
    return f"{git.get('commit', _ABSENT)}{', with uncommitted changes' if git.get('dirty') else ''}"
