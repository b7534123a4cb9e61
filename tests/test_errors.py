import inspect

import pytest

from torchsid import errors
from torchsid.errors import ConfigError, did_you_mean, unknown_name

CHILDREN = [value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__]


def test_there_are_children() -> None:
    assert ConfigError in CHILDREN


@pytest.mark.parametrize("error", CHILDREN)
def test_one_except_catches_them_all(error: type[Exception]) -> None:
    assert issubclass(error, ValueError)
    assert inspect.getdoc(error)


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError(["a is wrong", "b is wrong"], source="recipe")
    assert error.problems == ("a is wrong", "b is wrong")
    assert str(error) == "2 problems in the recipe:\n  - a is wrong\n  - b is wrong"


def test_one_problem_is_singular() -> None:
    assert str(ConfigError(["a is wrong"])).startswith("1 problem in the configuration:")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("steaming", " (did you mean 'streaming'?)"), ("two-phase", " (did you mean 'two_phase'?)"), ("xyz", ""), ("", "")],
)
def test_did_you_mean(name: str, expected: str) -> None:
    assert did_you_mean(name, ["streaming", "two_phase", "batched"]) == expected


def test_an_unknown_name_says_what_is_allowed() -> None:
    assert unknown_name("colour", "blu", {"red": 1, "blue": 2}) == "unknown colour 'blu' (did you mean 'blue'?); allowed: blue, red"
