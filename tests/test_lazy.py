import subprocess
import sys
from importlib import import_module

import pytest

import torchsid

PACKAGES = ("torchsid", "torchsid.tasks.images", "torchsid.training")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_a_subpackage_is_loaded_as_a_module() -> None:
    assert torchsid.models.names() == import_module("torchsid.models").names()


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nonsense'"):
        import_module(package).nonsense  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_the_package_leaves_torch_alone(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
