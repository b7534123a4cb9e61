"""Where what was made of data is kept."""

from pathlib import Path

import pytest

from torchsid.tasks import cache


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder("~/a") == tmp_path / "a"
    for value, expected in (("/x", Path("/x")), ("", tmp_path / ".cache"), ("relative", tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.folder("") == expected / "torchsid"
