"""Codes in bytes come back as they were, in as few bytes as there can be."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.compress.grid import BITS, nearest
from torchsid.compress.packing import pack, packed, unpack, unpacked

codes_of = st.tuples(st.sampled_from(BITS), st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))


@given(codes_of)
def test_what_is_packed_is_unpacked(drawn: tuple[int, int, int, int]) -> None:
    bits, channels, size, seed = drawn
    codes = torch.randint(2**bits, (channels, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    found = pack(codes, bits)
    assert found.shape == (channels, -(-bits * size // 8))
    assert torch.equal(unpack(found, bits, size), codes)


def test_a_state_comes_back_with_its_weights_on_their_grid() -> None:
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(4, 3, 3, 3), "a.bias": torch.randn(4), "b.weight": torch.randn(2, 4)}
    quantised = nearest(state["a.weight"].flatten(1), 3)
    stored = packed(state, {"a.weight": quantised})
    assert stored.keys() == {"a.weight.codes", "a.weight.grid", "a.bias", "b.weight"}
    assert stored["a.weight.codes"].nbytes == 4 * 11  # 27 weights of 3 bits in 11 bytes
    found = unpacked(stored, 3, state)
    assert found.keys() == state.keys()
    assert torch.equal(found["a.weight"], quantised.values().view(4, 3, 3, 3))
    assert found["a.bias"] is state["a.bias"]


def test_what_does_not_fit_stays_packed() -> None:
    stored = packed({}, {"a.weight": nearest(torch.randn(4, 6), 3)})
    for like in ({"a.weight": torch.zeros(4, 9)}, {"a.weight": torch.zeros(5, 6)}, {"a.weight": torch.zeros(())}):
        assert unpacked(stored, 3, like) == stored
