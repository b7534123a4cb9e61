import subprocess
import sys
from importlib import import_module

import pytest

import torchsid

PACKAGES = ("torchsid", "torchsid.tasks.images", "torchsid.training")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_there_and_no_others(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_a_subpackage_is_loaded_as_a_module() -> None:
    assert torchsid.models.names() == import_module("torchsid.models").names()


def test_importing_the_packages_leaves_torch_alone() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
