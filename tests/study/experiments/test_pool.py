import math
import os
import signal
import time
from collections.abc import Callable

import pytest

from torchsid.errors import RunError
from torchsid.study.experiments.pool import at_once


@pytest.mark.parametrize("processes", [1, 3])
def test_every_item_comes_with_its_result(processes: int) -> None:
    squares = [float(k * k) for k in range(9)]
    assert dict(at_once(math.sqrt, squares, processes)) == {square: math.sqrt(square) for square in squares}


def test_an_item_is_taken_when_a_process_is_free() -> None:
    taken = []
    results = at_once(math.sqrt, (taken.append(k) or float(k) for k in range(9)), 2)  # type: ignore[func-returns-value]
    next(results)
    assert len(taken) <= 3
    results.close()


@pytest.mark.parametrize(("work", "item", "message"), [(math.sqrt, -1.0, "math domain"), (os._exit, 9, "exit code 9")])
def test_what_failed_there_is_said_here(work: Callable[[float], object], item: float, message: str) -> None:
    with pytest.raises(RunError, match=message):
        list(at_once(work, [item], 2))


def test_who_stops_asking_leaves_nothing_behind() -> None:
    results = at_once(time.sleep, [0.0, 600.0], 2)
    next(results)
    results.close()  # waits for the processes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all(number: signal.Signals) -> None:
    results = at_once(time.sleep, [0.0, 600.0, 600.0], 2)
    next(results)
    signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        next(results)
