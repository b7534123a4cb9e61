import sys

import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.optional import require


def test_an_installed_module_is_returned() -> None:
    assert require("json", extra="files", purpose="") is sys.modules["json"]


def test_a_missing_one_names_the_extra() -> None:
    with pytest.raises(DataError, match=r"reading Parquet files needs the package 'nowhere': pip install 'torchsid\[files\]'"):
        require("nowhere.parquet", extra="files", purpose="reading Parquet files")
