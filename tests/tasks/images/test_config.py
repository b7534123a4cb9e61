from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from torchsid.tasks.images.config import AugmentConfig, DataConfig, NoiseConfig


def test_defaults_change_nothing_about_the_data() -> None:
    config = DataConfig()
    assert (config.name, config.noise, config.limit) == ("digits", NoiseConfig(kind="none"), 0)
    assert AugmentConfig() == AugmentConfig(crop=0, flip=False, cutout=0, mixup=0.0, cutmix=0.0, normalise=True)


def test_configs_are_frozen_and_hold_no_common_state() -> None:
    config = DataConfig()
    with pytest.raises(FrozenInstanceError):
        config.name = "mnist"  # type: ignore[misc]


def test_a_configuration_survives_json() -> None:
    config = DataConfig(name="cifar10", path="x", noise=NoiseConfig(kind="column", column="worse_label"))
    adapter = TypeAdapter(DataConfig)
    assert adapter.validate_json(adapter.dump_json(config)) == config


@pytest.mark.parametrize(
    "values",
    [
        {"validation": 1.0},
        {"validation": -0.1},
        {"limit": -1},
        {"on_bad_sample": "ignore"},
        {"nome": "digits"},
        {"noise": {"rat": 0.1}},
    ],
)
def test_values_out_of_range_and_unknown_keys_are_errors(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(DataConfig).validate_python(values)


def test_an_unknown_set_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValidationError, match="did you mean 'mnist'"):
        DataConfig(name="mnits")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "column"}, "needs noise.column"),
        ({"rate": 0.2}, "no effect"),
        ({"kind": "column", "column": "a", "rate": 0.2}, "no effect"),
        ({"kind": "pair", "rate": 0.2, "file": "a.parquet"}, "no effect"),
        ({"kind": "pair", "rate": 1.2}, "less than or equal to 1"),
    ],
)
def test_noise_that_contradicts_itself(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NoiseConfig(**values)


@pytest.mark.parametrize("values", [{"crop": -1}, {"cutout": -1}, {"mixup": -0.1}, {"cutmix": -1.0}])
def test_negative_augmentation_is_an_error(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**values)
