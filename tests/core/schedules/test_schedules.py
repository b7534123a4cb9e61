import inspect

import pytest
from tests.networks import small_cascade

from torchsid import SID
from torchsid.core import schedules


def test_every_name_has_a_description_and_a_documented_function() -> None:
    assert set(schedules.names()) == {"two_phase", "streaming", "batched"}
    for name in schedules.names():
        assert schedules.DESCRIPTIONS[name]
        assert inspect.getdoc(schedules.get(name))


def test_all_have_one_signature() -> None:
    assert len({str(inspect.signature(schedules.get(name))) for name in schedules.names()}) == 1


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown schedule 'steaming' \(did you mean 'streaming'\?\); allowed: batched, "):
        SID(small_cascade(), schedule="steaming")
