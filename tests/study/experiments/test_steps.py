"""A step of every contender is timed in turns, on the real training step."""

from tests.study.experiments.samples import experiment

from torchsid.study.experiments.experiment import ContenderConfig
from torchsid.study.experiments.steps import step_costs
from torchsid.study.frame import Case

TINY = {"data.limit": 60, "training.batch_size": 20}
LAYERED = {"learner.name": "direct-feedback-alignment", "model.network": "layered", "model.trunk": "perceptron"}


def test_every_contender_that_can_be_set_up_takes_its_turns_beside_the_first() -> None:
    contenders = {
        "BP": ContenderConfig(settings={"learner.name": "backprop", "model.network": "plain"}),
        "DFA": ContenderConfig(settings=LAYERED),
        "two workers": ContenderConfig(workers=2),
        "no data": ContenderConfig(settings={"data.name": "cifar10"}),
    }
    found = step_costs(experiment(contenders=contenders, axis=None, settings=TINY, step_rounds=2))
    assert set(found) == {Case("BP"), Case("DFA")}
    assert found[Case("BP")].over_first == (1.0, 1.0, 1.0)
    for cost in found.values():
        middle, low, high = cost.milliseconds
        assert 0 < low <= middle <= high
