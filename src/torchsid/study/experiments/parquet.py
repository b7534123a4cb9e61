"""Tidy rows as a Parquet file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torchsid.training.durable import write_bytes


def write_parquet(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    """Write rows with these columns, whole or not at all; what a row lacks is null.

    Args:
        rows: by name of the column.
        columns: name and type, as Arrow calls it: `string`, `int64`, `float64`.
        path: replaced if it is there.

    Raises:
        RunError: the operating system refuses.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])
    buffer = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer)
    draft = path.with_name(f".{path.name}.new")
    write_bytes(draft, buffer.getvalue().to_pybytes())
    draft.replace(path)
