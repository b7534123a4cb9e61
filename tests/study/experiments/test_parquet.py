from pathlib import Path

import pytest
from pyarrow import parquet

from torchsid.study.experiments.parquet import write_parquet


def test_what_a_row_lacks_is_null_and_an_earlier_file_is_replaced(tmp_path: Path) -> None:
    path, columns = tmp_path / "rows.parquet", {"name": "string", "seed": "int64", "kl": "float64"}
    write_parquet([{"name": "old"}], columns, path)
    write_parquet(iter([{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b"}]), columns, path)
    assert parquet.read_table(path).to_pylist() == [{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b", "seed": None, "kl": None}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_row_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet([{"seed": 1}], {"seed": "int64"}, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="str"):
        write_parquet([{"seed": "one"}], {"seed": "int64"}, path)
    assert path.read_bytes() == before
