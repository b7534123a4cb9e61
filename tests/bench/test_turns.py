from torchsid.bench.steps import spread, take_turns


def test_everyone_has_a_turn_a_round_and_the_order_rotates() -> None:
    calls: list[str] = []

    def turn(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = take_turns(["a", "b", "c"], turn, rounds=3)
    assert "".join(calls) == "cab" + "abc" + "bca" + "cab"
    assert results == {"a": [4, 9, 11], "b": [5, 7, 12], "c": [6, 8, 10]}  # without the round of warm-up


def test_a_spread_is_median_and_quartiles() -> None:
    assert spread([4, 1, 2, 3, 5]) == (3, 2, 4)
    assert spread([1, 3]) == (2, 1.5, 2.5)
