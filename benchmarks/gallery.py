"""Write docs/gallery.md: the figures of the experiments that are recorded under benchmarks/results/experiments, a line each.

    python benchmarks/gallery.py

To record an experiment, copy `results.json`, `results.parquet` and the figures of its folder there.
"""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "benchmarks" / "results" / "experiments"
PAGE = ROOT / "docs" / "gallery.md"
INTRODUCTION = """\
# Gallery of experiments

The answers of [`torchsid experiment`](experiments.md) on two processor cores: bars and bands are 95 % intervals over seeds. Seeds,
learning rates, differences and p-values are in `benchmarks/results/experiments/NAME/`: `results.json` and, as a tidy table,
`results.parquet`. [The verdict](verdict.md) says what they mean for the paper's claims.
"""


def section(folder: Path) -> str:
    """Return the lines about one experiment: its question, how it is repeated, and its figures."""
    result = json.loads((folder / "results.json").read_text("utf-8"))
    order = ["accuracy", *result["experiment"].get("metrics", [])]
    figures = [path for path in folder.glob("*.svg") if path.stem != "best"]
    figures.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem))
    shown = [f'<img src="../{path.relative_to(ROOT).as_posix()}" alt="{folder.name}: {path.stem}" width="49%">' for path in figures]
    line = f"{result['experiment']['question']} `{result['command']}`, {str(result['finished'])[:10]}.\n"
    return "\n".join([f"## {folder.name}\n", line, *shown, ""])


def page() -> str:
    """Return the page."""
    folders = sorted(path.parent for path in RECORDED.glob("*/results.json"))
    return "\n".join([INTRODUCTION, *map(section, folders)])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
