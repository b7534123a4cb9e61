"""Small models, seed by seed: what `torchsid compress --json` wrote, as one record, one table and one figure.

    python benchmarks/compress.py small/*.json --out benchmarks/results/compress --figure docs/images/compress.svg

A file is called NAME-SEED.json, or NAME-SEED-MORE.json where a run was compressed more than once; NAME stands for what was trained.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import Point
from torchsid.show.svg import standalone
from torchsid.study.statistics import mean_interval
from torchsid.training.provenance import provenance

Found = dict[str, dict[str, list[dict[str, Any]]]]  # by what was trained and by a row's name: one of each seed


def read(paths: Iterable[Path]) -> tuple[dict[str, str], Found, Found, Found]:
    """Return the commands, and the networks, ends and exits by what was trained."""
    commands: dict[str, str] = {}
    networks, ends, exits = (defaultdict(lambda: defaultdict(list)) for _ in range(3))
    seen = set()
    for path in sorted(paths, key=lambda path: path.stem):
        found, (*name, seed) = json.loads(path.read_text()), path.stem.removesuffix("-refit").split("-")
        trained, first = "-".join(name), (*name, seed) not in seen
        seen.add((*name, seed))
        commands[path.stem] = " ".join(Path(word).name if "/" in word else word for word in found["command"].split())
        for row in found["networks"][0 if first else 1 :]:
            networks[trained][row["name"]].append(row)
        for row in found["ends"] if first else []:
            ends[trained][str(row["stages"])].append(row)
        for row in (found["exits"] or {"points": []})["points"] if first else []:
            exits[trained][str(row["loss"])].append(row["test"])
    return commands, networks, ends, exits


def shown(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean of shares in per cent, and half of its interval."""
    mean = mean_interval([100 * value for value in values])
    return f"{mean.mean:.{digits}f}" + ("" if mean.high is None else f" ± {mean.high - mean.mean:.{digits}f}")


def table(networks: Found, ends: Found, exits: Found) -> str:
    lines = ["| trained by | weights | KiB | accuracy, % | change, points | answers as before, % |", "| --- |" + " --- |" * 5]
    for trained, rows in networks.items():
        full = [row["accuracy"][-1] for row in rows["full precision"]]
        for name, own in rows.items():
            accuracy = [row["accuracy"][-1] for row in own]
            change = shown([b - a for a, b in zip(full, accuracy, strict=False)])
            cells = (f"{own[0]['bytes'] / 2**10:,.0f}", shown(accuracy), change, shown([row["agreement"] for row in own]))
            lines.append(f"| {trained} | {name} | {' | '.join(cells)} |")
    lines += ["", "| trained by | stages kept | KiB | multiply-adds, % | accuracy, % |", "| --- |" + " --- |" * 4]
    for trained, rows in ends.items():
        for name, own in rows.items():
            cells = (
                f"{own[0]['bytes'] / 2**10:,.0f}",
                f"{100 * own[0]['operations']:.1f}",
                shown([row["accuracy"] for row in own]),
            )
            lines.append(f"| {trained} | {name} | {' | '.join(cells)} |")
    lines += ["", "| trained by | loss allowed, points | multiply-adds, % | accuracy, % |", "| --- |" + " --- |" * 3]
    for trained, rows in exits.items():
        for name, own in rows.items():
            cells = (shown([row["operations"] for row in own], 1), shown([row["accuracy"] for row in own]))
            lines.append(f"| {trained} | {100 * float(name):g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(networks: Found, ends: Found, exits: Found) -> str:
    """Return all ways to be smaller: accuracy over size (of others than the first network COMQ alone), and over operations."""
    size, work = [], []
    for trained, rows in networks.items():
        methods = dict.fromkeys(own[0]["method"] for name, own in rows.items() if name != "full precision")
        for method in methods if trained == next(iter(networks)) else ["comq"]:
            own = [each for name, each in rows.items() if each[0]["method"] == method]
            x = [each[0]["bytes"] / 2**10 for each in own]
            size.append(Line(f"{trained}: {method}", x, [point([row["accuracy"][-1] for row in each]) for each in own]))
    for trained, rows in ends.items():
        y = [point([row["accuracy"] for row in own]) for own in rows.values()]
        size.append(Line(f"{trained}: fewer stages", [own[0]["bytes"] / 2**10 for own in rows.values()], y))
        work.append(Line(f"{trained}: fewer stages", [100 * own[0]["operations"] for own in rows.values()], y))
    for trained, rows in exits.items():
        means = sorted((100 * sum(row["operations"] for row in own) / len(own), own) for own in rows.values() if own)
        work.append(Line(f"{trained}: exits", [x for x, _ in means], [point([row["accuracy"] for row in own]) for _, own in means]))
    costs = [x for line in size for x in line.x]
    ticks = {float(x): f"{x:,}" for x in (2**n for n in range(30)) if min(costs) / 2 < x < 2 * max(costs)}
    return standalone(
        curves("Accuracy over size", size, x="KiB", y="accuracy, %", logarithmic="x", ticks=ticks),
        curves("Accuracy over operations", work, x="multiply-adds, % of the whole network", y="accuracy, %"),
    )


def point(values: Sequence[float]) -> Point:
    mean = mean_interval([100 * value for value in values])
    return Point(mean.mean, mean.low, mean.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="what `torchsid compress --json` wrote")
    parser.add_argument("--out", type=Path, required=True, help="of the record, without its suffix")
    parser.add_argument("--figure", type=Path, help="SVG to write")
    args = parser.parse_args()
    commands, *found = read(args.files)
    networks, ends, exits = found
    record = {"commands": commands, "provenance": provenance(), "networks": networks, "ends": ends, "exits": exits}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(*found))
    if args.figure:
        args.figure.write_text(figure(*found))
    print(table(*found))


if __name__ == "__main__":
    main()
