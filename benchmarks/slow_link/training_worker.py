"""One of the two workers that train over the line: takes turns with all contenders, the same as `torchsid bench pipeline`.

python -m slow_link.training_worker JOB
"""

import json
import sys
from dataclasses import asdict, replace

import torch

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.pipeline.bench import take_turn
from torchsid.bench.pipeline.contenders import build
from torchsid.bench.steps import take_turns
from torchsid.bench.workload import Procedure, Workload
from torchsid.distributed.world import join


def main() -> None:
    job = json.loads(sys.argv[1])
    workload = Workload(**{**job["workload"], "stages": tuple(job["workload"]["stages"])})
    settings = PipelineSettings(**{**job["settings"], "micro_batches": tuple(job["settings"]["micro_batches"])})
    torch.set_num_threads(settings.threads)
    with join() as world:
        contenders, steps = {}, {}
        for each in job["contenders"]:
            own_settings = replace(settings, wire=each["wire"], queue=each["queue"])
            of_head, method = replace(workload, head=each["head"]), Procedure(**each["method"])
            contenders[each["name"]] = build(of_head, method, own_settings, world, job["seconds"])
            steps[each["name"]] = each["steps"]
        own = take_turns(list(contenders), lambda name: take_turn(contenders[name], steps[name]), settings.rounds)
        everyone = world.gather({name: [asdict(turn) for turn in turns] for name, turns in own.items()})
    print(json.dumps({name: list(zip(*(each[name] for each in everyone), strict=True)) for name in contenders}))


if __name__ == "__main__":
    main()
