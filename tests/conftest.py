"""One thread, one seed a test, and property tests that ignore the clock; with `CI` set, their examples are always the same."""

import gc
import os
from collections.abc import Generator
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if "CI" in os.environ else "local")
# Several processes test at once: each, and every one that it starts, has one thread.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where no device is, `torch.manual_seed` would write down for each kind of them from where it was called: a millisecond.
for device in (torch.cuda, torch.xpu, torch.mtia):
    if not device.is_available():
        device.manual_seed_all = lambda seed: None
# PyTorch alone has 200,000 objects that live for ever, at which the collector would look again and again.
gc.set_threshold(10_000, 20, 20)


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A failure that tells of a name which is no UTF-8 can be sent too; without this, it would end the process that found it."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _sendable(each) for key, each in value.items()}
    return type(value)(map(_sendable, value)) if isinstance(value, list | tuple) else value


TOLERANCES = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5)}  # relative and absolute, as PyTorch's own
explain = torch.testing.assert_close


def assert_close(actual: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, **options: Any) -> None:
    """`torch.testing.assert_close`, without the millisecond that it takes for two tensors that are close."""
    if not _close(actual, expected, rtol, atol):
        explain(actual, expected, rtol=rtol, atol=atol, **options)


def _close(actual: Any, expected: Any, rtol: float | None, atol: float | None) -> bool:
    """Whether these surely are; of anything but tensors, or dictionaries of them, nothing is known."""
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(_close(actual[key], expected[key], rtol, atol) for key in actual)
    if not (isinstance(actual, Tensor) and isinstance(expected, Tensor)):
        return False
    if (actual.dtype, actual.shape, actual.device) != (expected.dtype, expected.shape, expected.device):
        return False
    if actual.dtype not in TOLERANCES or (rtol is None) != (atol is None):
        return False
    relative, absolute = TOLERANCES[actual.dtype] if rtol is None or atol is None else (rtol, atol)
    return torch.allclose(actual, expected, rtol=relative, atol=absolute)


torch.testing.assert_close = assert_close


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
