from pathlib import Path

import pytest

from .fake import Make, maker


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Return `make_run(name, **changes of Fake) -> path`: run directories that no training made."""
    return maker(tmp_path)
