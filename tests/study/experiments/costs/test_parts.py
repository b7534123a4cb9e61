import copy
from collections.abc import Callable

import pytest
import torch
from tests.study.experiments.costs.samples import TIMING
from torch import nn
from torch.optim import SGD

from torchsid.learners.sid import SID
from torchsid.study.experiments.costs import shared, staged
from torchsid.study.experiments.costs.parts import EXTRACTOR, PARTS, PHASE_1, PHASE_2, UPDATE, bound, in_parts, serial_share

SHARED = shared.workload(TIMING.shared[0], 3)
STAGED = staged.workload(TIMING.staged[0], [2])


def sid(module: nn.Module) -> SID:
    return SID(module, optimizer=SGD(module.parameters(), lr=0.1))  # type: ignore[arg-type]


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize(("new", "batch"), [(SHARED.new_cascade, SHARED.batch()), (lambda: STAGED.new_cascade(2), STAGED.batch())])
def test_a_step_in_parts_is_the_step(new: Callable[[], nn.Module], batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    apart, whole = new(), new()
    before = copy.deepcopy(weights(apart))
    for _ in range(2):
        in_parts(sid(apart), *batch)
        sid(whole).step(*batch)
    torch.testing.assert_close(weights(apart), weights(whole))
    assert not torch.equal(weights(apart), before)
    assert all(parameter.grad is None for parameter in apart.parameters())


def test_every_part_has_its_time() -> None:
    assert set(in_parts(sid(SHARED.new_cascade()), *SHARED.batch())) == set(PARTS)
    assert set(in_parts(sid(STAGED.new_cascade(2)), *STAGED.batch())) == set(PARTS) - {EXTRACTOR}


def test_parts_fall_where_the_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that counts its readings, every part is the number of times that it was read."""
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    assert in_parts(sid(SHARED.new_cascade()), *SHARED.batch()) == {EXTRACTOR: 3.0, PHASE_1: 2.0, PHASE_2: 1.0, UPDATE: 1.0}
    assert in_parts(sid(STAGED.new_cascade(2)), *STAGED.batch()) == {PHASE_1: 3.0, PHASE_2: 2.0, UPDATE: 2.0}


def test_extractor_and_phase_1_run_one_after_another() -> None:
    assert serial_share({EXTRACTOR: 2.0, PHASE_1: 1.0, PHASE_2: 4.0, UPDATE: 3.0}) == pytest.approx(0.3)
    assert serial_share({PHASE_1: 1.0, PHASE_2: 2.0, UPDATE: 1.0}) == pytest.approx(0.25)


def test_the_bound_is_amdahls() -> None:
    assert bound(1.0, 64) == 1.0
    assert bound(0.0, 64) == 64.0
    assert bound(0.25, 3) == pytest.approx(2.0)
