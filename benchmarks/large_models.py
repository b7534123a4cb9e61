"""A language model of 7 billion parameters on paper: SID with readout heads in 8 to 64 stages, 1F1B, zero bubble and full sharding.

    python benchmarks/large_models.py --out benchmarks/results/large-models

As many H100 as stages; a step is 256 texts of 2,048 tokens, one a micro-batch of the pipelines and a part of SID. Full sharding
takes four texts a device at once, about as many as fit. Nothing of it is measured: it is what `torchsid plan` foresees.

What the forecast is worth is seen on a small model: speed-ups of two processes over one, foreseen from pieces timed on this
machine, beside those that `torchsid bench pipeline` measured and `--measured` has.
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from torchsid.planner.forecast import ONE_F_ONE_B, SID, ZB_H1, forecast
from torchsid.planner.model import ModelSpec
from torchsid.planner.request import UTILISATION, PlanRequest, resolve
from torchsid.training.provenance import provenance

BATCH, CONTEXT, TEXTS, REFRESH = 256, 2048, 4, 50
LINKS = {"50GB/s": "10us", "10Gbit/s": "100us", "1Gbit/s": "10ms"}
CONTENDERS = {SID: "sid pipeline", ONE_F_ONE_B: "1f1b, 4 micro-batches", ZB_H1: "zero bubble, 4 micro-batches"}
MODELS = {8: {}, 16: {}, 32: {}, 64: {"depth": 64, "width": 2944}}  # 64 blocks, narrower: a block is not cut


def plans() -> list[dict[str, Any]]:
    rows = []
    for (stages, sizes), (link, latency) in product(MODELS.items(), LINKS.items()):
        request = PlanRequest(
            model=ModelSpec(name="gpt-7b", context=CONTEXT, head="readout", **sizes),
            devices=f"{stages}xH100",
            stages=stages,
            link=link,
            latency=latency,
            batch_size=BATCH,
            micro_batches=BATCH,
            parts=BATCH // (TEXTS * stages),
            refresh=REFRESH,
        )
        planned = resolve(request)
        tokens = BATCH * CONTEXT
        one_by_one = forecast(planned.trace, planned.speed, replace(planned.mesh, parts=BATCH))
        for name, method in (forecast(planned.trace, planned.speed, planned.mesh) | {SID: one_by_one[SID]}).items():
            row = {"stages": stages, "link": link, "method": name, "memory": method.memory, "fits": method.fits}
            row |= {"sent_a_token": method.sent / tokens, "seconds": method.seconds, "tokens_per_second": tokens / method.seconds}
            row |= {"efficiency": method.efficiency, "limit": method.limit, "step": dict(method.step)}
            if name == SID:
                heads = [planned.trace.pieces[rank.stages[-1][1] - 1] for rank in method.ranks]
                row |= {"parameters": planned.trace.parameters, "heads": [head.head for head in heads]}
                row |= {"head_share": sum(head.head_operations for head in heads) / sum(p.operations for p in planned.trace.pieces)}
            rows.append(row)
            print(stages, link, name, f"{method.seconds:.2f} s", flush=True)
    return rows


def check(path: Path) -> list[dict[str, Any]]:
    """Return speed-up and traffic of two processes, foreseen and measured."""
    known = {row["contender"]: row for row in json.loads(path.read_text())["rows"]}
    model = ModelSpec(name="gpt", context=64, vocabulary=65, depth=8, width=128, head="linear")
    request = PlanRequest(model=model, devices="2xmeasured", stages=4, data=1, batch_size=16, micro_batches=4, measure=True)
    asked = {"precision": "float32", "optimizer": "sgd", "link": "1GB/s", "latency": "100us"}
    planned = resolve(replace(request, **asked))
    two = forecast(planned.trace, planned.speed, planned.mesh)
    one = forecast(planned.trace, planned.speed, replace(planned.mesh, ranks=1, micro_batches=1))
    rows = []
    for name, contender in CONTENDERS.items():
        foreseen, row = one[name].seconds / two[name].seconds, known[contender]
        rows.append({"method": name, "foreseen": foreseen, "measured": row["speed_up"], "error": foreseen / row["speed_up"] - 1})
    return rows


def check_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| method | speed-up foreseen | measured | error |", "| --- | --- | --- | --- |"]
    lines += [f"| {row['method']} | {row['foreseen']:.2f} | {row['measured']:.2f} | {row['error']:+.0%} |" for row in rows]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    links = list(LINKS)
    steps = " | ".join(f"step at {link}, s" for link in links)
    lines = [f"| stages | method | GiB a device | bytes a token | {steps} | at {links[0]} |"]
    lines.append("| --- |" + " --- |" * (4 + len(links)))
    for stages, method in dict.fromkeys((row["stages"], row["method"]) for row in rows):
        own = {row["link"]: row for row in rows if (row["stages"], row["method"]) == (stages, method)}
        first = own[links[0]]
        memory = f"{first['memory'] / 2**30:.1f}" + ("" if first["fits"] else " (too much)")
        seconds = " | ".join(f"{own[link]['seconds']:.2f}" for link in links)
        lost = max((part, name) for name, part in first["step"].items() if name != "work")
        why = f"work {first['efficiency']:.0%}, {lost[1]} {lost[0] / first['seconds']:.0%}"
        lines.append(f"| {stages} | {method} | {memory} | {first['sent_a_token']:,.0f} | {seconds} | {why} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="of the record, without its suffix")
    parser.add_argument("--measured", type=Path, default=Path("benchmarks/results/pipeline/gpt.json"), help="of two processes")
    args = parser.parse_args()
    checked, rows = check(args.measured), plans()
    sizes = {"batch": BATCH, "context": CONTEXT, "texts a device of FSDP": TEXTS, "refresh": REFRESH, "utilisation": UTILISATION}
    command = f"python benchmarks/large_models.py --out benchmarks/results/{args.out.name}"
    args.out.with_suffix(".json").write_text(
        json.dumps({"command": command, "provenance": provenance(), **sizes, "rows": rows, "check": checked}, indent=1) + "\n"
    )
    args.out.with_suffix(".md").write_text(f"{table(rows)}\n{check_table(checked)}")
    print(table(rows), check_table(checked), sep="\n")


if __name__ == "__main__":
    main()
