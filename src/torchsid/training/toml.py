"""A configuration as TOML text, and its checksum; reading is the standard library's `tomllib`."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import tomli_w

from torchsid.training.config import RunConfig


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML text that `load_recipe` reads back to an equal one."""
    return tomli_w.dumps(asdict(config))


def config_sha256(config: RunConfig) -> str:
    """Return the SHA-256 of the configuration's TOML text, as hexadecimal digits; without `distributed`, which may change."""
    tree: Mapping[str, Any] = {name: section for name, section in asdict(config).items() if name != "distributed"}
    return hashlib.sha256(tomli_w.dumps(tree).encode()).hexdigest()
