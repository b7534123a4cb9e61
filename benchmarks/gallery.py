"""Write docs/gallery.md from the experiments that are recorded under benchmarks/results/experiments.

    python benchmarks/gallery.py

To record an experiment, copy `results.json`, `results.parquet` and the figures of its folder there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchsid.show.wording import counted

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "benchmarks" / "results" / "experiments"
PAGE = ROOT / "docs" / "gallery.md"
INTRODUCTION = """\
# Gallery of experiments

Every question of [`torchsid experiment`](experiments.md) as it was answered on two processor cores. The sentences are those that
the command prints: a difference is found where its 95 % interval, paired over seeds, excludes zero, and a p-value is named where it
does not outlive the correction for the number of comparisons. Records with every seed, learning rate and interval are in
`benchmarks/results/experiments/NAME/`: `results.json` and, tidy, `results.parquet`. What all of it says about the paper's claims is
on [a page of its own](verdict.md). Training times were taken while other work ran on the machine; times of steps, in `timing`, were
not.
"""


def page() -> str:
    """Return the whole page."""
    folders = sorted(path.parent for path in RECORDED.glob("*/results.json"))
    sections = ["\n".join(section(folder)) for folder in folders]
    return "\n".join([INTRODUCTION, contents(folders), *sections])


def contents(folders: list[Path]) -> str:
    """Return a table of the experiments: name, question, what was run."""
    rows = [f"| [`{folder.name}`](#{folder.name}) | {load(folder)['experiment']['question']} |" for folder in folders]
    return "\n".join(["| experiment | question |", "| --- | --- |", *rows, ""])


def section(folder: Path) -> Iterator[str]:
    """Yield the lines about one experiment: question, claim, verdict, figures, and how to repeat it."""
    result = load(folder)
    experiment = result["experiment"]
    yield f"## {folder.name}\n"
    yield f"**{experiment['question']}** {experiment['claim']}\n"
    for sentence in (*result["verdict"], *result["notes"]):
        yield f"* {sentence}"
    yield ""
    for figure in figures(folder, result):
        yield f'<img src="{relative(figure)}" alt="{figure.stem} of the experiment {folder.name}" width="49%">'
    yield ""
    yield f"{', '.join(circumstances(result))}:\n"
    yield f"    {result['command']}\n"


def figures(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Return the recorded figures: accuracy, the experiment's own metrics in their order, then any others."""
    order = ["accuracy", *result["experiment"].get("metrics", [])]
    rank = {name: place for place, name in enumerate(order)}
    found = (path for path in folder.glob("*.svg") if path.stem != "best")
    return sorted(found, key=lambda path: (rank.get(path.stem, len(rank)), path.stem))


def circumstances(result: dict[str, Any]) -> Iterator[str]:
    """Yield on what, with what, how often and when."""
    versions, hardware = result["versions"], result["hardware"]
    if seeds := result.get("ran", {}).get("seeds"):
        yield f"{counted(len(seeds), 'seed')} each"
    if data := result.get("data"):
        yield f"data: {', '.join(data)}"
    yield f"{hardware['cores']} cores of {hardware['cpu']}, {counted(hardware['threads'], 'thread')}"
    yield f"torch {versions['torch']}, torchsid {versions['torchsid']}"
    yield str(result["finished"])[:10]


def load(folder: Path) -> dict[str, Any]:
    """Return the summary of a recorded experiment."""
    result: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    return result


def relative(path: Path) -> str:
    """Return the path as the page refers to it."""
    return f"../{path.relative_to(ROOT).as_posix()}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
