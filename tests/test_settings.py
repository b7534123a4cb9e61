"""Settings are the keyword-only parameters of what they set."""

import math
import tomllib
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tomli_w
from annotated_types import Ge, MultipleOf

from torchsid.errors import ConfigError
from torchsid.models import EXTRACTORS
from torchsid.settings import (
    Count,
    OneOf,
    Positive,
    Share,
    Weight,
    all_settings,
    allowed,
    build,
    checked,
    path_of,
    path_setting,
    settings_of,
)
from torchsid.training import resolve


class Base:
    """A base.

    Args:
        beta: Of the base, in
            two lines.
        gamma: Said by the base alone.
    """

    @checked
    def __init__(self, module: object, *, beta: Weight = 0.5, gamma: Positive = 1.0, folder: Path | None = None) -> None:
        self.given = (module, beta, gamma)


class Derived(Base):
    """A class whose own word on a setting counts.

    Args:
        beta, depth: Of the derived class.
    """

    @checked
    def __init__(self, module: object, *, beta: Weight = 0.1, gamma: Positive = 2.0, depth: Count) -> None:
        super().__init__(module, beta=beta, gamma=gamma)


def network(example: str, *, extractor: Annotated[Any, OneOf(EXTRACTORS, also=("",))] = "mlp", depth: Count = 5) -> tuple[Any, ...]:
    return example, extractor, depth


def test_settings_are_what_a_file_can_hold_with_default_and_description() -> None:
    assert [(each.name, each.default, each.description) for each in settings_of(Base).values()] == [
        ("beta", 0.5, "Of the base, in two lines."),
        ("gamma", 1.0, "Said by the base alone."),
    ]
    described = {each.name: each.description for each in settings_of(Derived).values()}
    assert described == dict.fromkeys(("beta", "depth"), "Of the derived class.") | {"gamma": "Said by the base alone."}


def test_values_out_of_range_are_refused_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"beta=1.5: allowed is .*at most 1; gamma=0: .*above 0; depth=0: .*at least 1"):
        Derived(None, beta=1.5, gamma=0, depth=0)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="gamma="):
            Base(None, gamma=value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Share, "float, at least 0, below 1"),
        (Positive, "float, above 0"),
        (Annotated[int, Ge(64), MultipleOf(64)], "int, at least 64, a multiple of 64"),
        (Literal["a", "b"], "a | b"),
        (tuple[float, ...] | str, "list of float | str"),
        (Annotated[Any, OneOf(EXTRACTORS, also=("", "auto"))], "auto | mlp | simple-cnn | package.module:Object"),
    ],
)
def test_what_is_allowed_is_said_in_words(annotation: Any, words: str) -> None:
    assert allowed(annotation) == words


def test_a_named_entry_brings_its_settings() -> None:
    assert set(all_settings(network, {})) == {"extractor", "depth", "feature_dim"}
    assert set(all_settings(network, {"extractor": ""})) == {"extractor", "depth"}
    for wrong in ("mpl", True, 3, ["mlp"], {"mlp": 1}):
        with pytest.raises(ConfigError, match="extractor"):
            all_settings(network, {"extractor": wrong})


def test_an_entry_is_handed_on_with_its_settings_filled_in() -> None:
    example, extractor, depth = build(network, {"feature_dim": 7, "depth": 2, "of_another": 1}, "example")
    assert (example, depth) == ("example", 2)
    assert isinstance(extractor, partial)
    assert (extractor.func, extractor.keywords) == (EXTRACTORS.load("mlp"), {"feature_dim": 7})
    assert build(network, {"extractor": ""}, "example") == ("example", "", 5)


@pytest.mark.parametrize("name", ["photos", "📷 𠮷野", "a#b?c;%41 d", "file:x", "caf\udce9", "\udcff/%e9\n\x7f 📷", "~/caf\udce9"])
def test_a_path_of_any_bytes_is_a_setting_that_toml_holds(name: str) -> None:
    setting = path_setting(name)
    assert tomllib.loads(tomli_w.dumps({"path": setting}))["path"] == setting
    assert path_of(setting).absolute() == Path(name).expanduser().absolute()
    assert resolve("digits", [f"data.path='{name}'" if "\n" not in name else f"data.path={setting}"]).data.path == setting
