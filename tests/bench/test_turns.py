import pytest

from torchsid.bench.turns import quartiles, ratio, take_turns


def test_everyone_has_a_turn_a_round_and_the_order_rotates() -> None:
    calls: list[str] = []

    def turn(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = take_turns(["a", "b", "c"], turn, rounds=3)
    assert "".join(calls) == "cab" + "abc" + "bca" + "cab"
    assert results == {"a": [4, 9, 11], "b": [5, 7, 12], "c": [6, 8, 10]}  # without the round of warm-up


def test_ratios_are_taken_within_a_round() -> None:
    assert ratio([2, 20, 300], [1, 10, 100]) == 2
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def test_quartiles_hold_the_median() -> None:
    assert quartiles([4, 1, 2, 3, 5]) == (2, 4)
    assert quartiles([1, 3]) == (1.5, 2.5)
