import pytest
from torchsid.tasks.images.catalogue import DESCRIPTIONS, names, problem_with


def test_names_are_sorted_and_described_in_one_line() -> None:
    assert list(names()) == sorted(DESCRIPTIONS)
    assert all(line and "\n" not in line for line in DESCRIPTIONS.values())


@pytest.mark.parametrize("name", [*names(), "hub:ylecun/mnist", "hub:mnist"])
def test_known_names(name: str) -> None:
    assert problem_with(name) == ""


@pytest.mark.parametrize(("name", "message"), [("cifar11", "did you mean 'cifar10'"), ("hub:", "hub:OWNER/NAME"), ("", "allowed")])
def test_unknown_names(name: str, message: str) -> None:
    assert message in problem_with(name)
