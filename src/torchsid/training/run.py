"""A run directory: where its files are, its log, and a trained network from it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from torchsid import __version__
from torchsid.core.learner import Learner
from torchsid.durable import os_errors, replace_file, sha256_of_json
from torchsid.errors import CheckpointError, ConfigError, RunError, bullets
from torchsid.tasks.domain import About, Task
from torchsid.training import checkpoint
from torchsid.training.config import RunConfig, config_sha256, differences, to_toml
from torchsid.training.lock import LOCK
from torchsid.training.recipes import resolve
from torchsid.training.setup import build_learner, build_task, choose_device

Which = Literal["best", "last"]
WHICH: tuple[Which, ...] = get_args(Which)

_PLACES = ("path", "cache", "memory", "workers")  # settings of `data` that say where files lie and who reads them, not what
_BEGUN = {LOCK, "config.toml", ".config.toml.new", ".manifest.json.new"}  # all that a run killed at its start has left


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run, as docs/design.md lists them."""

    path: Path
    worker: int | None = None  # the rank of a worker that does not lead, which has a log of its own and writes nothing else

    @property
    def config_file(self) -> Path:
        """The resolved configuration, TOML."""
        return self.path / "config.toml"

    @property
    def metrics_file(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / ("metrics.jsonl" if self.worker is None else f"logs/worker-{self.worker}.jsonl")

    def checkpoint(self, which: Which) -> Path:
        """The directory of the last or the best checkpoint."""
        return self.path / "checkpoints" / which

    def check_best(self) -> None:
        """Raise a CheckpointError unless checkpoints/best holds the end of the epoch that it calls the best."""
        directory = self.checkpoint("best")
        progress = checkpoint.state_of(directory).get("progress") if checkpoint.exists(directory) else None
        match progress:
            case {"epoch": int(epoch), "step": int(step), "best_epoch": int(best)} if best and (epoch - 1, step) != (best, 0):
                when = f"step {step} of epoch {epoch}" if step else f"the end of epoch {epoch - 1}"
                advice = "were best and last exchanged? Restore them from a copy"
                raise CheckpointError(f"{directory} is of {when}, the best epoch was {best}: {advice}")

    def config(self) -> RunConfig:
        """Return the resolved configuration.

        Raises:
            ConfigError: the file was altered and no longer fits.
            RunError: the run was made by an earlier version, whose configuration differs.
        """
        try:
            return resolve(self.config_file)
        except ConfigError:
            made_by = self.manifest().get("torchsid")
            if made_by == __version__:
                raise
            why = f"made by torchsid {made_by}, whose configuration this version, {__version__}, cannot read"
            raise RunError(f"{self.path} was {why}: use that version, or train it again") from None

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line that a crash cut short is left out.

        Raises:
            RunError: the file is missing, or a line other than the last is no JSON object.
        """
        *lines, _ = self._text(self.metrics_file).split("\n")
        records: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(dict(json.loads(line)))
            except (TypeError, ValueError, RecursionError):
                raise RunError(f"{self.metrics_file}, line {number}: not a JSON object; the file was altered") from None
        return records

    def manifest(self) -> dict[str, Any]:
        """Return what manifest.json says."""
        return self._read("manifest.json")

    def about(self) -> About:
        """Return what manifest.json says of the data; predictions depend on it, so without its checksum it is not believed."""
        data: About = self._read("manifest.json", unsigned=False)["data"]
        return data

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace manifest.json at once."""
        self._write("manifest.json", manifest)

    def evaluation(self) -> dict[str, Any]:
        """Return what evaluation.json says; a run that has not finished has none."""
        return self._read("evaluation.json")

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Replace evaluation.json at once."""
        self._write("evaluation.json", evaluation)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        replace_file(self.path / name, json.dumps({**content, "sha256": sha256_of_json(content)}, indent=1) + "\n")

    def _read(self, name: str, *, unsigned: bool = True) -> dict[str, Any]:
        """Return an object without its checksum, if that fits; `unsigned` takes files of earlier versions, which have none."""
        path = self.path / name
        try:
            content = json.loads(self._text(path))
        except (ValueError, RecursionError) as error:
            raise RunError(f"cannot read {path}: {error}") from None
        if not isinstance(content, dict):
            raise RunError(f"cannot read {path}: it is no JSON object")
        digest = content.pop("sha256", None)
        if digest is None and not unsigned:
            why = "has no checksum, so that nothing shows whether it is as the run wrote it"
            raise RunError(f"{path} {why}: restore it from a copy")
        if digest is not None and digest != sha256_of_json(content):
            why = "is damaged, or was changed after the run wrote it: its SHA-256 does not fit"
            raise RunError(f"{path} {why}; restore it from a copy")
        return content

    def _text(self, path: Path) -> str:
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:
            raise RunError(f"{path} does not exist: the run has not got that far, or is no run directory") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read {path}: {error}") from None


def open_run(path: Path) -> RunDirectory:
    """Return the run in a directory.

    Raises:
        RunError: the directory is missing or holds no run.
    """
    if not path.is_dir():
        raise RunError(f"{path} is no directory; `torchsid train RECIPE --out {path}` would make one")
    if missing := [name for name in ("config.toml", "manifest.json") if not (path / name).is_file()]:
        raise RunError(f"{path} is no complete run directory: {' and '.join(missing)} missing")
    return RunDirectory(path)


def check_directory(run: RunDirectory, config: RunConfig, *, resume: bool) -> dict[str, str] | None:
    """Return where the data of the run to go on with lay; None where a directory is missing or empty, for a new one.

    They may lie elsewhere now, where the manifest has their fingerprint, by which they are compared once they are read. A directory
    that holds other things is a RunError, a run of another configuration a CheckpointError that names what differs.
    """
    if run.path.is_file():
        raise RunError(f"{run.path} is a file: name another directory")
    names = {entry.name for entry in run.path.iterdir()} if run.path.exists() else set()
    if links := [path for path in (run.path, *run.path.glob("*"), *run.path.glob("checkpoints/*")) if path.is_symlink()]:
        raise RunError(f"{links[0]} is a symbolic link, through which nothing is written: name the directory that it leads to")
    if names <= _BEGUN and ("config.toml" not in names or run.config_file.read_bytes() == to_toml(config).encode()):
        return None
    if not resume:
        raise RunError(f"{run.path} exists and is not empty: go on with it by --resume, or name another directory")
    begun = open_run(run.path).config()
    known = run.about().get("fingerprint")
    may_differ = ("distributed.", *(f"data.{name}:" for name in _PLACES if known))
    if changed := [change for change in differences(begun, config) if not change.startswith(may_differ)]:
        advice = "resume it with its own, or start a new run in another directory"
        raise CheckpointError(f"{run.path} was begun under another configuration; {advice}:{bullets(changed)}")
    return {name: value for name in _PLACES if (value := getattr(begun.data, name, None)) is not None}


def synced_size(path: Path) -> int:
    """Wait until all lines of a metrics.jsonl are on the disk, and return its size in bytes."""
    with os_errors(path), path.open("r+b") as file:
        os.fsync(file.fileno())
        return file.seek(0, os.SEEK_END)


def cut_back(path: Path, size: int) -> None:
    """Drop what stands in a metrics.jsonl after `size` bytes: it was written by steps that will be taken again."""
    if synced_size(path) < size:
        raise RunError(f"{path} is shorter than its checkpoint says: restore it from a copy or start a new run")
    os.truncate(path, size)


class LoadedNetwork(NamedTuple):
    """A trained network and what is needed to use it."""

    learner: Learner
    """The network with its method, in evaluation mode: `learner.module`, `learner.log_beliefs(x)`."""
    config: RunConfig
    """The run's configuration."""
    task: Task
    """The domain that it was trained in."""
    about: About
    """What is known of the data."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name an outcome; their numbers where they have no names."""
        return tuple(self.about.get("class_names") or map(str, range(self.about["num_classes"])))

    @property
    def prepare(self) -> Callable[[Tensor], Tensor]:
        """From stored inputs `[N, ...]` to what the network reads, on its device."""
        device = next(self.learner.module.parameters()).device
        return lambda inputs: self.task.prepare(inputs, self.about).to(device)


def load_network(run: Path | RunDirectory, which: Which = "best", *, device: str = "cpu") -> LoadedNetwork:
    """Return the network of a run with its best or last weights.

    Args:
        run: the directory. While a run has no best weights yet, its last ones are taken.
        which: `best` (by the last stage's validation, see `Task.judged_by`) or `last`.
        device: `cpu`, `cuda` or `auto`.

    Raises:
        RunError: there is no run, or no checkpoint in it yet.
        CheckpointError: the checkpoint is damaged, or does not belong to the run's config.toml.
    """
    run = run if isinstance(run, RunDirectory) else open_run(run)
    config, about = run.config(), run.about()
    task = build_task(config)
    directory = next((found for name in (which, "last") if checkpoint.exists(found := run.checkpoint(name))), None)
    run.check_best()
    if directory is None:
        raise RunError(f"{run.path} has no checkpoint yet: continue it with `torchsid train --resume`")
    # Initial weights are drawn only to be overwritten: the caller's random numbers stay as they are.
    with torch.random.fork_rng(devices=[]):
        learner = build_learner(config, task, about, choose_device(device))
    checkpoint.load(directory, learner, config_sha256=config_sha256(config))
    learner.module.eval()
    return LoadedNetwork(learner, config, task, about)
