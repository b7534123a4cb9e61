"""Runs gathered into methods: the same method trained with several seeds is one method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchsid.study.runs import RunRecord

_SIDE_EFFECTS = ("distributed.", "watch.")  # sections that a repetition may change without being another method
_NOT_THE_METHOD = {"recipe", "label", "training.seed", "training.checkpoint_every_seconds", "training.threads"}
_NOT_THE_METHOD |= {f"training.{key}" for key in ("certify", "conflict", "tensorboard")}  # until version 0.1


_FEW = 3  # settings that a name can tell


@dataclass(frozen=True)
class Method:
    """One method and its runs, ordered by seed."""

    name: str
    runs: tuple[RunRecord, ...]

    @property
    def example(self) -> RunRecord:
        """The run that stands for the method where seeds cannot be averaged: of those evaluated, that of the lowest seed."""
        return next((run for run in self.runs if run.scores), self.runs[0])


def gather(runs: Sequence[RunRecord]) -> list[Method]:
    """Group runs that differ in nothing but their seed; the order is that of each method's first run.

    Methods that share a label are told apart by the few settings in which they differ, as in `SID (alpha = 0.7)`, or by their
    recipes; runs that repeat a method and its seed by the name of their directory.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.label, repr(sorted(_settings(run.config).items()))), []).append(run)
    parts = [part for members in groups.values() for part in _without_repeats(members)]
    return [Method(_name(part, parts), tuple(part)) for part in parts]


def _without_repeats(runs: list[RunRecord]) -> list[list[RunRecord]]:
    repeated = len({run.seed for run in runs}) < len(runs)
    return [[run] for run in runs] if repeated else [sorted(runs, key=lambda run: run.seed)]


def _name(runs: list[RunRecord], groups: list[list[RunRecord]]) -> str:
    rivals = [other[0] for other in groups if other[0].label == runs[0].label]
    if len(rivals) == 1:
        return runs[0].label
    settings = [_settings(rival.config) for rival in rivals]
    mine, recipe = _settings(runs[0].config), str(runs[0].manifest["recipe"])
    differing = [key for key in sorted(mine) if any(other.get(key) != mine[key] for other in settings)]
    if settings.count(mine) == 1 and 0 < len(differing) <= _FEW:
        detail = ", ".join(f"{key.rpartition('.')[2]} = {mine[key]}" for key in differing)
    else:
        detail = recipe if sum(str(rival.manifest["recipe"]) == recipe for rival in rivals) == 1 else runs[0].name
    return f"{runs[0].label} ({detail})"


def _settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `{dotted name: value}` of the settings that make up the method."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            settings.update(_settings(value, f"{prefix}{key}."))
        elif prefix not in _SIDE_EFFECTS and prefix + key not in _NOT_THE_METHOD:
            settings[prefix + key] = value
    return settings
