from dataclasses import replace

import pytest
from tests.study.experiments.samples import record

from torchsid.study.experiments.metrics import METRICS

RUN = record(0, 0.95, best=0.97, kl=(2.3, 0.5, 0.6, 0.4, 0.45))


@pytest.mark.parametrize(
    ("name", "value"),
    [("accuracy", 95), ("best", 97), ("kl", 0.45), ("ece", 5), ("speed", 60), ("rising", 2), ("kept", 1), ("seconds", 3)],
)
def test_numbers_of_a_run(name: str, value: float) -> None:
    assert METRICS[name].of(RUN) == pytest.approx(value)


def test_cosine_is_the_mean_over_pairs_and_epochs() -> None:
    epochs = ({"conflict": [[1.0, 0.5], [0.5, 1.0]]}, {"conflict": [[1.0, -0.1], [None, 1.0]]}, {"epoch": 3})
    assert METRICS["cosine"].of(replace(RUN, epochs=epochs)) == pytest.approx((0.5 - 0.1) / 2)
    assert METRICS["cosine"].of(RUN) is None


def test_what_was_not_evaluated_has_no_number() -> None:
    unfinished = replace(RUN, best=None, last=None, epochs=())
    assert [METRICS[name].of(unfinished) for name in ("accuracy", "best", "kl", "ece", "speed", "rising")] == [None] * 6


def test_titles_have_units() -> None:
    assert METRICS["kl"].title == "KL of the last stage, nats"
    assert METRICS["rising"].title == "stages at which KL rises"
