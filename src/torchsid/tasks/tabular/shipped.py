"""Tables that are part of scikit-learn: nothing is downloaded."""

from importlib import import_module

import numpy as np

from torchsid.errors import DataError, unknown_name
from torchsid.packages import require
from torchsid.tasks.tabular.table import Table

LOADERS = {"breast-cancer": "load_breast_cancer", "diabetes": "load_diabetes", "iris": "load_iris", "wine": "load_wine"}
"""The function of scikit-learn that reads each."""
TARGETS = {"breast-cancer": "diagnosis", "diabetes": "progression", "iris": "species", "wine": "cultivar"}
"""What is foreseen in each."""


def shipped(name: str) -> Table:
    """Return a table with its target as the last column; classes by their names, numbers in their own units.

    Raises:
        DataError: there is no such table, or scikit-learn is missing.
    """
    if name not in LOADERS:
        raise DataError(f"{unknown_name('table', name, LOADERS)}; one of your own is read from data.path")
    require("sklearn", extra="tabular", purpose=f"the table {name!r}")
    read = getattr(import_module("sklearn.datasets"), LOADERS[name])
    found = read(scaled=False) if name == "diabetes" else read()
    columns = dict(zip(found.feature_names, found.data.astype(np.float64).T, strict=True))
    target = found.target.astype(np.float64)
    if "target_names" in found:
        target = found.target_names.astype(object)[found.target]
    return Table({**columns, TARGETS[name]: target}, [(name, len(target))])
