"""Codes of a few bits packed into bytes, and networks of them as tensors with names, as safetensors can hold them.

A weight NAME of C channels and d numbers each is stored as `NAME.codes`, uint8 `[C, ⌈b·d/8⌉]`, lowest bits first, and `NAME.grid`,
float32 `[C, 2]`: step and zero of each channel. Whatever else the network holds is stored as it is.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from torchsid.compress.grid import Grid, Quantised

_CODES, _GRID = ".codes", ".grid"


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return codes, uint8 `[C, d]`, in bytes, uint8 `[C, ⌈b·d/8⌉]`."""
    single = np.unpackbits(codes.numpy()[..., None], axis=-1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(single.reshape(len(codes), -1), axis=1, bitorder="little"))


def unpack(packed: Tensor, bits: int, size: int) -> Tensor:
    """Return the codes, uint8 `[C, size]`, that were packed."""
    single = np.unpackbits(packed.numpy(), axis=1, count=bits * size, bitorder="little")
    return torch.from_numpy(np.packbits(single.reshape(len(packed), size, bits), axis=-1, bitorder="little")[..., 0])


def packed(state: Mapping[str, Tensor], quantised: Mapping[str, Quantised]) -> dict[str, Tensor]:
    """Return a network's state with packed codes and grids in the place of the weights that were quantised."""
    found = {name: tensor for name, tensor in state.items() if name not in quantised}
    for name, (codes, grid) in quantised.items():
        found[name + _CODES] = pack(codes.cpu(), grid.bits)
        found[name + _GRID] = torch.cat([grid.scale, grid.zero], 1).float().cpu()
    return found


def plain_name(name: str) -> str:
    """Return the name of the weight that a packed tensor belongs to; any other name as it is."""
    return name.removesuffix(_CODES).removesuffix(_GRID)


def unpacked(found: Mapping[str, Tensor], bits: int, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a network that `packed` gave, float32, with the shapes of `like`; what does not fit is left as it is."""
    state = dict(found)
    for name, tensor in like.items():
        codes, grid = found.get(name + _CODES), found.get(name + _GRID)
        if codes is None or grid is None or tensor.dim() < 2:
            continue
        size = tensor[0].numel()
        if codes.shape == (len(tensor), -(-bits * size // 8)) and grid.shape == (len(tensor), 2):
            del state[name + _CODES], state[name + _GRID]
            steps = Grid(grid[:, :1], grid[:, 1:], bits)
            state[name] = Quantised(unpack(codes, bits, size), steps).values().view_as(tensor)
    return state
