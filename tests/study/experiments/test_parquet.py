from pathlib import Path

import pytest
from pyarrow import parquet

from torchsid.study.experiments.parquet import write_parquet


def test_what_a_row_lacks_is_null_and_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path, columns = tmp_path / "rows.parquet", {"name": "string", "seed": "int64", "kl": "float64"}
    write_parquet([{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b"}], columns, path)
    with pytest.raises(Exception, match="str"):
        write_parquet([{"seed": "one"}], columns, path)
    assert parquet.read_table(path).to_pylist() == [{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b", "seed": None, "kl": None}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.parquet"]
