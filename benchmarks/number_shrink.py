"""How far answers are drawn to the middle of the bins: the slope of the answers on the true numbers, by contender and stage.

    python benchmarks/number_shrink.py RUN… --out benchmarks/results/numbers/shrink

An answer that is the true number but for chance has slope 1. An ideal cascade keeps a share r = Π(1 − α_i) of the prior, which
multiplies the slope by 1 − r. The last weights answer the test samples.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from torchsid import training
from torchsid.tasks.numbers import Numbers
from torchsid.training.evaluation import predict
from torchsid.training.provenance import provenance
from torchsid.training.setup import build_task

COMMAND = "python benchmarks/number_shrink.py RUN… --out benchmarks/results/numbers/shrink"


def slopes(run: Path) -> dict[str, Any]:
    network = training.load_network(run, "last")
    samples = build_task(network.config).load(network.config.training.seed).test
    numbers = Numbers.of(network.about)
    assert numbers is not None
    assert samples.value is not None
    means = numbers.bins.mean(predict(network.learner, samples.inputs, prepare=network.prepare).double()).numpy()
    truth = samples.value.numpy()
    found = [float(np.polyfit(truth, stage, 1)[0]) for stage in means[1:]]
    alphas = network.learner.objective.alphas(len(found)) if network.learner.objective else (1.0,)
    return {"run": run.name, "alpha": alphas, "left": float(np.prod([1 - alpha for alpha in alphas])), "slopes": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix")
    args = parser.parse_args()
    record = {"command": COMMAND, **provenance(), "rows": [slopes(run) for run in args.runs]}
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
