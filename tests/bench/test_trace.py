from torchsid.bench.trace import trace_steps
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", stages=(2, 4), width=32, batch_size=8, image_size=4)


def test_sid_updates_a_stage_before_the_next_runs_and_backpropagation_none_before_all_have() -> None:
    events = trace_steps(MLP)
    assert [event["what"] for event in events if event["contender"] == "sid-4"] == [
        f"stage {stage} {what}" for stage in (1, 2, 3, 4) for what in ("forward", "updated")
    ]
    assert [event["what"] for event in events if event["contender"] == "backprop"] == [
        *(f"stage {stage} forward" for stage in (1, 2, 3, 4)),
        "all stages updated",
    ]
    for contender in ("sid-4", "backprop"):
        times = [event["milliseconds"] for event in events if event["contender"] == contender]
        assert times == sorted(times)
        assert times[0] > 0
