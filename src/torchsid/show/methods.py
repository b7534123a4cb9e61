"""Runs gathered into methods: the same method trained with several seeds is one method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torchsid.show.record import RunRecord

# Settings that do not make another method of a run: a repetition may change them.
_NOT_THE_METHOD = {"recipe", "label", "training.seed", "training.certify", "training.conflict", "training.tensorboard"}
_NOT_THE_METHOD |= {"training.checkpoint_every_seconds", "training.threads"}


@dataclass(frozen=True)
class Method:
    """One method and its runs, ordered by seed."""

    name: str
    runs: tuple[RunRecord, ...]

    @property
    def evaluated(self) -> tuple[RunRecord, ...]:
        """The runs that have been evaluated."""
        return tuple(run for run in self.runs if run.chosen is not None)

    @property
    def example(self) -> RunRecord | None:
        """The run that stands for the method where seeds cannot be averaged: the evaluated one of the lowest seed."""
        return self.evaluated[0] if self.evaluated else None


def gather(runs: Sequence[RunRecord]) -> list[Method]:
    """Group runs that differ in nothing but their seed; the order is that of each method's first run.

    Methods that share a label are told apart by the settings in which they differ, as in `SID (alpha = 0.7)`; runs that
    repeat a method and its seed are kept apart by the name of their directory.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.label, repr(sorted(_settings(run.config).items()))), []).append(run)
    parts = [part for members in groups.values() for part in _without_repeats(members)]
    return [Method(name, tuple(part)) for name, part in zip(_names(parts), parts, strict=True)]


def _without_repeats(runs: list[RunRecord]) -> list[list[RunRecord]]:
    ordered = sorted(runs, key=lambda run: run.seed)
    repeated = any(len(list(same)) > 1 for _, same in groupby(ordered, key=lambda run: run.seed))
    return [[run] for run in runs] if repeated else [ordered]


def _names(groups: list[list[RunRecord]]) -> list[str]:
    names = []
    for runs in groups:
        rivals = [other[0] for other in groups if other[0].label == runs[0].label]
        if len(rivals) == 1:
            names.append(runs[0].label)
            continue
        everyone = [_settings(rival.config) for rival in rivals]
        mine = _settings(runs[0].config)
        differing = [key for key in sorted(mine) if any(other.get(key) != mine[key] for other in everyone)]
        detail = ", ".join(f"{key.rpartition('.')[2]} = {mine[key]}" for key in differing[:3])
        unique = detail and sum(_settings(rival.config) == mine for rival in rivals) == 1
        names.append(f"{runs[0].label} ({detail if unique else runs[0].name})")
    return names


def _settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `{dotted name: value}` of the settings that make up the method."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            settings.update(_settings(value, f"{prefix}{key}."))
        elif prefix != "distributed." and prefix + key not in _NOT_THE_METHOD:
            settings[prefix + key] = value
    return settings
