from functools import partial
from typing import Any

from tests.distributed.workers import in_workers

from torchsid.bench.pipeline.entries import BACKPROP, DATA_PARALLEL, GPIPE, SID, SID_PIPELINE, Entry, entries
from torchsid.bench.pipeline.plan import Settings
from torchsid.bench.pipeline.turns import idle_shares
from torchsid.bench.workers.worker import TRIAL_ROUNDS, Job, take_memory, take_time
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
SETTINGS = Settings(stages=4, micro_batches=(2, 4), rounds=2)
JOB = Job(workloads=(MLP,), settings=SETTINGS)
SECONDS = {SID: [1.0] * 4, BACKPROP: [1.0] * 4}


def test_json_and_back() -> None:
    for job in (JOB, Job(workloads=(MLP, MLP), settings=SETTINGS, seconds=(SECONDS,), entry=Entry(GPIPE, 4))):
        assert Job.from_json(job.to_json()) == job


def time_all(rank: int) -> dict[str, Any] | None:
    measured = take_time(JOB.to_json())
    if measured is None:
        return None
    (times,) = measured
    return {
        "seconds": {method: len(seconds) for method, seconds in times.seconds.items()},
        "trials": {name: len(rounds) for name, rounds in times.trials.items()},
        "steps": {name: [[len(turn.ends) for turn in turns] for turns in rounds] for name, rounds in times.rounds.items()},
        "idle": {name: [idle_shares(turns) for turns in rounds] for name, rounds in times.rounds.items()},
        "sent": {name: [turn.sent_bytes for turn in rounds[0]] for name, rounds in times.rounds.items()},
    }


def test_every_contender_has_its_turns() -> None:
    result, other = in_workers(time_all)
    assert other is None
    assert result["seconds"] == {SID: 4, BACKPROP: 4}
    compared, _ = entries((2, 4), workers=2, stages=4)
    assert result["trials"] == {entry.name: TRIAL_ROUNDS for entry in compared if entry.method != DATA_PARALLEL}
    assert {name.partition(",")[0] for name in result["steps"]} == {entry.method for entry in compared}
    assert len(result["steps"]) == len({entry.method for entry in compared})
    steps = SETTINGS.steps_a_turn
    for name, rounds in result["steps"].items():
        assert rounds == 2 * [[steps, 0 if "one worker" in name else steps]]
        assert all(-1e-6 < share <= 1 for idle in result["idle"][name] if idle for share in idle)
        assert (sum(result["sent"][name]) > 0) != ("one worker" in name)
    (pipeline,) = (name for name in result["sent"] if name.startswith(SID_PIPELINE))
    assert result["sent"][pipeline][1] == 0


def memory_of(rank: int, entry: Entry) -> list[int] | None:
    measured = take_memory(Job(workloads=(MLP,), settings=SETTINGS, seconds=(SECONDS,), entry=entry).to_json())
    return measured and [each.kept_bytes for each in measured]


def test_memory_of_those_that_take_part() -> None:
    kept = {
        entry.method: in_workers(partial(memory_of, entry=entry)) for entry in (Entry(SID), Entry(SID_PIPELINE), Entry(GPIPE, 4))
    }
    assert all(other is None for _, other in kept.values())
    (alone,) = kept[SID][0]
    pipelined, gpipe = kept[SID_PIPELINE][0], kept[GPIPE][0]
    assert pipelined[0] == alone  # the largest stage; the second worker's graph also holds the message that it reads
    assert len(gpipe) == 2
    assert min(gpipe) > 0
