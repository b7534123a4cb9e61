from functools import partial
from typing import Any

from tests.distributed.workers import in_workers

from torchsid.bench.contenders import BACKPROP, SID, Contender
from torchsid.bench.pipeline.contenders import GPIPE, SID_ALONE, SID_PIPELINE, pipeline_contenders
from torchsid.bench.pipeline.turn import idle_shares
from torchsid.bench.pipeline.worker import take_memory, take_time
from torchsid.bench.plan import PipelineSettings
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
SETTINGS = PipelineSettings(stages=4, micro_batches=(2,), rounds=1)


def time_all(rank: int) -> dict[str, Any] | None:
    measured = take_time([MLP], SETTINGS)
    if measured is None:
        return None
    ((seconds, rounds),) = measured
    return {
        "seconds": {method: len(each) for method, each in seconds.items()},
        "steps": {name: [[len(turn.ends) for turn in turns] for turns in each] for name, each in rounds.items()},
        "idle": [idle for each in rounds.values() for turns in each if (idle := idle_shares(turns))],
        "sent": {name: [turn.sent_bytes for turn in each[0]] for name, each in rounds.items()},
    }


def test_every_contender_has_its_turns() -> None:
    result, other = in_workers(time_all)
    assert other is None
    assert result["seconds"] == {SID: 4, BACKPROP: 4}
    compared, _ = pipeline_contenders((2,), workers=2, stages=4)
    assert set(result["steps"]) == {each.name for each in compared}
    steps = SETTINGS.steps_a_turn
    for name, rounds in result["steps"].items():
        assert rounds == [[steps, 0 if "one worker" in name else steps]]
        assert (sum(result["sent"][name]) > 0) != ("one worker" in name)
    assert all(-1e-6 < share <= 1 for idle in result["idle"] for share in idle)
    assert result["sent"][SID_PIPELINE][1] == 0


def memory_of(rank: int, contender: Contender) -> list[int] | None:
    measured = take_memory(MLP, contender, SETTINGS, {SID: [1.0] * 4, BACKPROP: [1.0] * 4})
    return measured and [kept for _, kept in measured]


def test_memory_of_those_that_take_part() -> None:
    methods = (Contender(SID_ALONE, 4), Contender(SID_PIPELINE, 4), Contender(GPIPE, 4, micro_batches=4))
    found = {each.method: in_workers(partial(memory_of, contender=each)) for each in methods}
    assert all(other is None for _, other in found.values())
    (alone,), pipelined, gpipe = (first for first, _ in found.values())
    assert pipelined[0] == alone  # the largest stage; the second worker's graph also holds the message that it reads
    assert len(gpipe) == 2
    assert min(gpipe) > 0
