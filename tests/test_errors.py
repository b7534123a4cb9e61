import inspect

import pytest

from torchsid import errors
from torchsid.errors import ConfigError, did_you_mean, unknown_name


def test_one_except_catches_them_all() -> None:
    children = [value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__]
    assert ConfigError in children
    assert all(issubclass(error, ValueError) and inspect.getdoc(error) for error in children)


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError(["a is wrong", "b is wrong"], source="recipe")
    assert error.problems == ("a is wrong", "b is wrong")
    assert str(error) == "2 problems in the recipe:\n  - a is wrong\n  - b is wrong"
    assert str(ConfigError(["a is wrong"])).startswith("1 problem in the configuration:")


@pytest.mark.parametrize(("name", "expected"), [("steaming", "streaming"), ("two-phase", "two_phase"), ("xyz", ""), ("", "")])
def test_an_unknown_name_says_what_is_allowed_and_which_is_near(name: str, expected: str) -> None:
    hint = f" (did you mean {expected!r}?)" if expected else ""
    assert did_you_mean(name, ["streaming", "two_phase", "batched"]) == hint
    message = unknown_name("schedule", name, {"streaming": 1, "two_phase": 2, "batched": 3})
    assert message == f"unknown schedule {name!r}{hint}; allowed: batched, streaming, two_phase"
