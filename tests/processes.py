"""The processes that decode images, however they are made."""

from functools import cache

import psutil
from torch.utils.data import DataLoader


@cache
def _serve() -> None:
    """As programs do: PyTorch has its handler of dead processes from now on, and Python 3.14 the server that makes processes."""
    list(DataLoader(range(2), num_workers=1))


def children() -> set[int]:
    """Numbers of the processes below this one, also of those that a server makes for it."""
    _serve()
    return {each.pid for each in psutil.Process().children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE}
