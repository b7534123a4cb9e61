from dataclasses import replace

from torchsid.bench.contenders import contenders
from torchsid.bench.workload import SHARED, Workload
from torchsid.core import schedules

MLP = Workload(model="mlp", stages=(2, 4, 8), width=32, batch_size=8, image_size=4)


def test_a_classifier_is_trained_in_the_usual_ways_and_by_sid_in_every_number_of_stages() -> None:
    found = {each.name: each.stages for each in contenders(MLP)}
    sid = {"sid-2": 2, "sid-4": 4, "sid-8": 8}
    assert found == {"backprop": 1, "checkpointing": 8, "accumulation": 1, "deep supervision": 4, **sid}
    assert "deep supervision" not in [each.name for each in contenders(replace(MLP, stages=(8,)))]


def test_a_shared_cascade_is_trained_by_every_schedule() -> None:
    found = contenders(Workload(model=SHARED, stages=(3,)))
    assert [each.name for each in found] == ["reference", "backprop", *schedules.names(), "plain"]
    assert {each.stages for each in found} == {3}
