"""What a language model learns of a new text and keeps of an old one, by the way in which its lower half learns.

    python benchmarks/retention.py --data DIR --out benchmarks/results/retention

DIR holds `tinyshakespeare.txt` and `sst2-train.parquet`. A small GPT over bytes learns the plays by backpropagation; beside it a
head learns, on detached features, what the middle of the model believes. Then copies of this one model are fine-tuned on sentences
of film reviews, each on the same windows, at each learning rate; a seed draws the windows. Finished runs are kept in `runs.jsonl`:
the same command again goes on. Every rate is shown and none selected, so the test parts alone are evaluated, over all windows.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.peak_memory import kept_bytes
from torchsid.models.classifiers.gpt import GPT
from torchsid.study.statistics import mean_interval
from torchsid.tasks.domain import PARTS, generator_at
from torchsid.tasks.language.encoded import of_text
from torchsid.training.provenance import provenance

VOCABULARY, CONTEXT, BATCH, WIDTH, BLOCKS = 256, 64, 8, 64, 4
OLD_STEPS, NEW_STEPS, OLD_RATE = 3000, 200, 3e-3
SEEDS, RATES = (0, 1, 2), (1e-3,)
RECONSTRUCTION = 10.0  # λ of LoPT
COMMAND = "python benchmarks/retention.py --data DIR --out benchmarks/results/retention"


class Halves(nn.Module):
    """A GPT, what its middle believes, and LoPT's way back from there to what the lower blocks read."""

    def __init__(self) -> None:
        super().__init__()
        self.model = GPT(torch.zeros(2, CONTEXT, dtype=torch.int64), VOCABULARY, width=WIDTH, blocks=BLOCKS)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY))
        narrow = WIDTH // 4
        self.back = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, narrow), nn.GELU(), nn.Linear(narrow, WIDTH))

    def embedded(self, x: Tensor) -> Tensor:
        """Return what the first block reads, `[B, T, d]`."""
        model = self.model
        return torch.add(model.tokens(x), model.positions[: x.shape[1]])

    def lower(self, embedded: Tensor) -> Tensor:
        """Return the features in the middle, `[B, T, d]`."""
        features: Tensor = self.model.blocks[: BLOCKS // 2](embedded)
        return features

    def upper(self, features: Tensor) -> Tensor:
        """Return the logits `[B, T, V]`."""
        model = self.model
        logits: Tensor = model.readout(model.norm(model.blocks[BLOCKS // 2 :](features)))
        return logits


Backward = Callable[[Halves, Halves, Tensor, Tensor], object]
"""Fills the gradients of a model on a batch; beside it stands the old model."""


def nats(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())


def from_teacher(logits: Tensor, teacher: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Return α times the cross-entropy with the next byte, and 1 − α times that with what the teacher believes."""
    return alpha * nats(logits, target) + (1 - alpha) * F.cross_entropy(logits.flatten(0, -2), teacher.softmax(-1).flatten(0, -2))


def end_to_end(net: Halves, old: Halves, x: Tensor, y: Tensor) -> None:
    nats(net.upper(net.lower(net.embedded(x))), y).backward()


def end_to_end_beside_old(net: Halves, old: Halves, x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        teacher = old.upper(old.lower(old.embedded(x)))
    from_teacher(net.upper(net.lower(net.embedded(x))), teacher, y, 0.5).backward()


def frozen(net: Halves, old: Halves, x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        features = net.lower(net.embedded(x))
    nats(net.upper(features), y).backward()


def reconstructing(net: Halves, old: Halves, x: Tensor, y: Tensor) -> None:
    embedded = net.embedded(x)
    features = net.lower(embedded)
    (RECONSTRUCTION * F.mse_loss(net.back(features), embedded.detach())).backward()
    nats(net.upper(features.detach()), y).backward()


def local(alpha: float, alpha_above: float = 1.0) -> Backward:
    """Return SID's step: each half learns from the next byte by its α, from the old belief of the same half by the rest."""

    def step(net: Halves, old: Halves, x: Tensor, y: Tensor) -> None:
        features = net.lower(net.embedded(x))
        with torch.no_grad():
            before = old.lower(old.embedded(x)) if min(alpha, alpha_above) < 1 else features
            lower = old.head(before) if alpha < 1 else None
            upper = old.upper(before) if alpha_above < 1 else None
        logits = net.head(features)
        (nats(logits, y) if lower is None else from_teacher(logits, lower, y, alpha)).backward()
        logits = net.upper(features.detach())
        (nats(logits, y) if upper is None else from_teacher(logits, upper, y, alpha_above)).backward()

    return step


METHODS: dict[str, Backward] = {
    "backpropagation": end_to_end,
    "backpropagation, half from the old answer": end_to_end_beside_old,
    "lower half frozen": frozen,
    "lower half by reconstruction (LoPT)": reconstructing,
    "SID, both halves from the text": local(1.0),
    "SID, lower half half from its old belief": local(0.5),
    "SID, both halves half from their old beliefs": local(0.5, 0.5),
}


def train(net: Halves, ids: Tensor, step: Callable[[Tensor, Tensor], object], steps: int, rate: float, seed: int) -> list[float]:
    """Update the model on random windows of a text; return the processor seconds of every step."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.1)
    warmth = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 50))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 10)
    seconds = []
    for number in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (BATCH, 1), generator=generator_at("windows", seed, number))
        windows = ids[starts + torch.arange(CONTEXT + 1)]
        began = time.process_time()
        optimizer.zero_grad()
        step(windows[:, :-1], windows[:, 1:])
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.process_time() - began)
        (warmth if number < 50 else cosine).step()
    return seconds


@torch.no_grad()
def loss(net: Halves, ids: Tensor) -> float:
    """Return the nats a byte over all windows, which touch each other; what fills none at the end is left out."""
    count = (len(ids) - 1) // CONTEXT
    x, y = (ids[shift : shift + count * CONTEXT].view(count, CONTEXT) for shift in (0, 1))
    parts = [nats(net.upper(net.lower(net.embedded(a))), b) * len(a) for a, b in zip(x.split(256), y.split(256), strict=True)]
    return float(torch.stack(parts).sum()) / count


def texts(data: Path, work: Path) -> dict[str, dict[str, Tensor]]:
    """Return the bytes of each part of both texts."""
    reviews = work / "reviews.txt"
    sentences = pyarrow.parquet.read_table(data / "sst2-train.parquet").column("sentence").to_pylist()
    reviews.write_text("\n".join(sentences) + "\n")
    found = {}
    for name, path in {"old": data / "tinyshakespeare.txt", "new": reviews}.items():
        parts = of_text(path, str(work), tokens="bytes", size=VOCABULARY, shares=(0.0, 0.1)).parts
        starts = torch.zeros(1, dtype=torch.int64)
        found[name] = {part: parts[part].read(starts, parts[part].count)[0].to(torch.int64) for part in PARTS if parts[part].count}
    return found


def old_model(path: Path, ids: Tensor, seed: int) -> Halves:
    """Return the model that has learnt the old text, trained where it has not been yet."""
    torch.manual_seed(seed)
    net = Halves()
    if path.exists():
        safetensors.torch.load_model(net, path)
        return net

    def step(x: Tensor, y: Tensor) -> None:
        features = net.lower(net.embedded(x))
        (nats(net.upper(features), y) + nats(net.head(features.detach()), y)).backward()

    train(net, ids, step, OLD_STEPS, OLD_RATE, seed)
    safetensors.torch.save_model(net, path)
    return net


def runs(data: dict[str, dict[str, Tensor]], work: Path, done: set[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yield what each run that is not done has reached."""
    old = old_model(work / "old-0.safetensors", data["old"]["train"], seed=0)
    if ("old", 0.0, 0) not in done:
        yield {"method": "old", "rate": 0.0, "seed": 0, **{name: loss(old, data[name]["test"]) for name in data}}
    for rate, seed, (method, backward) in product(RATES, SEEDS, METHODS.items()):
        if (method, rate, seed) in done:
            continue
        net = deepcopy(old)
        x = y = data["new"]["train"][: BATCH * CONTEXT].view(BATCH, CONTEXT)
        kept = kept_bytes(net, lambda: backward(net, old, x, y))  # noqa: B023 (called at once)
        net.zero_grad()
        seconds = train(net, data["new"]["train"], lambda x, y: backward(net, old, x, y), NEW_STEPS, rate, seed)  # noqa: B023
        losses = {name: loss(net, data[name]["test"]) for name in data}
        yield {"method": method, "rate": rate, "seed": seed, **losses, "kept": kept, "step": statistics.median(seconds)}


def table(found: list[dict[str, Any]]) -> str:
    """Return the means over the seeds, with 95 % intervals, by method and learning rate."""
    lines = [
        "| lower half | learning rate | new text, nats a byte | old text, nats a byte | kept for backward, MiB | a step, ms |",
        "| --- |" + " --- |" * 5,
    ]
    for method, rate in dict.fromkeys((run["method"], run["rate"]) for run in sorted(found, key=_place)):
        own = [run for run in found if (run["method"], run["rate"]) == (method, rate)]
        cells = []
        for name in ("new", "old"):
            mean = mean_interval([run[name] for run in own])
            cells.append(f"{mean.mean:.3f}" if mean.high is None else f"{mean.mean:.3f} ± {mean.high - mean.mean:.3f}")
        if rate:
            cells += [f"{own[0]['kept'] / 2**20:.1f}", f"{1000 * statistics.median(run['step'] for run in own):.0f}"]
        else:
            cells += ["", ""]
        shown = "before fine-tuning" if method == "old" else method
        lines.append(f"| {shown} | {f'{rate:g}' if rate else ''} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _place(run: dict[str, Any]) -> tuple[float, int]:
    return run["rate"], [*METHODS, "old"].index(run["method"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the two texts")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, without their suffix")
    parser.add_argument("--work", type=Path, default=Path("retention-work"), help="folder of the old models and finished runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "runs.jsonl"
    found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(run["method"], run["rate"], run["seed"]) for run in found}
    with log.open("a") as file:
        for run in runs(texts(args.data, args.work), args.work, done):
            print(json.dumps(run), file=file, flush=True)
            found.append(run)
            print(
                f"{run['method']}, rate {run['rate']:g}, seed {run['seed']}: new {run['new']:.3f}, old {run['old']:.3f}", flush=True
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps({"command": COMMAND, **provenance(), "runs": found}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
