"""Where the numbers come from: all that is needed to judge a run and to repeat it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torchsid.show.tables import Cell, Table, facts, table
from torchsid.show.text import number, percent
from torchsid.study.runs import RunRecord

_SHOWN_ELSEWHERE = ("command", "plan", "head_share", "locality", "data.class_names", "data.noise.transitions")


def provenance_table(runs: Sequence[RunRecord]) -> Table:
    """Return the manifests, one line an entry: a value a run, or once what holds for all of them."""
    columns = [dict(entries(run.manifest)) for run in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    values = {name: [column.get(name, "–") for column in columns] for name in names}
    rows = [[name, *(found[:1] + [""] * (len(runs) - 1) if len(set(found)) == 1 else found)] for name, found in values.items()]
    heads = [run.name for run in runs] if len(runs) > 1 else [""]
    return facts(["manifest.json", *heads], rows, "A value that stands alone holds for every run" if len(runs) > 1 else "")


def shared_entries(runs: Sequence[RunRecord], names: Sequence[str]) -> Table:
    """Return the entries whose names begin so, every value of several runs once."""
    columns = [dict(entries(run.manifest)) for run in runs]
    chosen = dict.fromkeys(name for column in columns for name in column if name.startswith(tuple(names)))
    rows = [[name, "; ".join(dict.fromkeys(column[name] for column in columns if name in column))] for name in chosen]
    return facts(["manifest.json", ""], rows)


def entries(manifest: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a manifest says, by dotted names; nothing is left out but what is empty or shown elsewhere."""
    for key, value in manifest.items():
        name = f"{prefix}{key}"
        if name in _SHOWN_ELSEWHERE or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping):
            yield from entries(value, f"{name}.")
        else:
            yield name, f"{value:.4g}" if isinstance(value, float) else str(value)


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
