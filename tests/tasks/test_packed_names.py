import pickle

import numpy as np
import pytest

from torchsid.tasks.packed_names import Names

LISTS = [[], ["a/b.png", "", "caf\udce9", "𠮷 x"], ["\udcc3", "\udca9"]]  # names that end and begin within a letter


@pytest.mark.parametrize("names", LISTS)
def test_names_are_a_sequence_like_any_other(names: list[str]) -> None:
    compact = Names.of(names)
    assert list(compact) == names == [compact[i] for i in range(len(names))]
    assert compact == tuple(names) == compact
    assert compact[1:] == names[1:]
    assert compact[np.arange(len(names))[::-1]] == names[::-1]
    assert pickle.loads(pickle.dumps(compact)) == names
    assert Names.of(compact) is compact
    assert bool(compact) == bool(names)
    assert compact != [*names, "z"]


def test_parts_share_the_bytes_and_end_where_the_sequence_does() -> None:
    names = Names.of(f"{i}" for i in range(100))
    assert names[10:20].text is names.text
    assert (names[-1], names.index("7")) == ("99", 7)
    with pytest.raises(IndexError):
        names[100]


def test_names_can_be_made_printable() -> None:
    usual = Names.of(["a.png", "b c"])
    assert usual.printable() is usual
    assert Names.of([*LISTS[2], "a\n"]).printable() == ["\\xc3", "\\xa9", "a\\x0a"]
    assert Names.of(["é", "𠮷"]).printable() == ["é", "𠮷"]
