"""Domains: where samples come from, what a batch is, which networks read it, how good an answer is, how a sample is shown.

The folder is a registry: `NAME.py`, or a folder `NAME/` with a `task.py`, is the task NAME. Listing them needs no torch.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names
from torchsid.registry import Registry

if TYPE_CHECKING:
    from torchsid.tasks.domain import About as About
    from torchsid.tasks.domain import Floor as Floor
    from torchsid.tasks.domain import Samples as Samples
    from torchsid.tasks.domain import Splits as Splits
    from torchsid.tasks.domain import Task as Task
    from torchsid.tasks.stored import Reader as Reader
    from torchsid.tasks.stored import RowFile as RowFile
    from torchsid.tasks.stored import Stored as Stored

TASKS = Registry("torchsid.tasks", "task", having="reads_files")

names = TASKS.names

__getattr__, __dir__, _LAZY = lazy_names(__name__)
__all__ = ["TASKS", "names", *_LAZY]
