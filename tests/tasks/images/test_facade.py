import subprocess
import sys

import pytest

import torchsid.tasks.images


def test_every_public_name_is_there() -> None:
    for name in torchsid.tasks.images.__all__:
        assert getattr(torchsid.tasks.images, name) is not None
    assert set(torchsid.tasks.images.__all__) <= set(dir(torchsid.tasks.images))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        torchsid.tasks.images.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import torchsid.tasks.images; torchsid.tasks.images.names()", ["torch", "numpy", "pydantic", "pyarrow", "PIL"]),
        ("from torchsid.tasks.images import DataConfig, AugmentConfig; DataConfig()", ["torch", "numpy", "pyarrow", "PIL"]),
        ("from torchsid.tasks.images import load, DataConfig; load(DataConfig(), seed=0)", ["pyarrow", "PIL", "datasets"]),
    ],
)
def test_imports_are_light(statement: str, absent: list[str]) -> None:
    code = f"import sys; {statement}; print([name for name in {absent} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
