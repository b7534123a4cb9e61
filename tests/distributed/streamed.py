"""Digits in a file that is read batch by batch; every process writes down what it reads."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from torchsid.tasks import Samples, Splits
from torchsid.tasks.images import Images
from torchsid.tasks.stored import NO_DRAWS, Draws, RowFile, Stored


class Watched(RowFile):
    """Notes the rows that are read beside the file, a line for each time, by worker."""

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        with self.path.with_suffix(f".{os.environ.get('RANK', 'alone')}").open("a") as notes:
            print(json.dumps(rows.tolist()), file=notes)
        return super().read(rows, draws)


@dataclass(frozen=True, kw_only=True)
class Streamed(Images):
    """The digits, from files in `path`."""

    @property
    def memory_bytes(self) -> int:
        return 0

    def load(self, seed: int) -> Splits:
        splits = super().load(seed)
        return replace(splits, **{name: self._in_file(name, getattr(splits, name)) for name in ("train", "validation", "test")})

    def _in_file(self, name: str, part: Samples) -> Samples:
        file = Path(self.path, name)
        own = file.with_suffix(f".{os.getpid()}.bin")
        own.write_bytes(part.inputs[:].numpy().tobytes())
        own.replace(file)
        return replace(part, inputs=Stored(Watched(file, tuple(part.inputs.shape[1:])), torch.arange(len(part))))
