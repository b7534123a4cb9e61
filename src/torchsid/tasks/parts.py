"""What the parts of a data set are called."""

import re
from collections.abc import Mapping, Sequence

NAMES_OF: Mapping[str, Sequence[str]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The names of each part, in small or capital letters; the first are preferred."""
PART_OF = {name: part for part, names in NAMES_OF.items() for name in names}
"""Which part each name means."""
_PART = re.compile(rf"({'|'.join(PART_OF)})([-_ ]?(set|data|images|split))?", re.IGNORECASE)


def part_of(name: str) -> str:
    """Return which part is called so, `training_set` and `Test` among them, or nothing."""
    match = _PART.fullmatch(name)
    return PART_OF[match[1].lower()] if match else ""
