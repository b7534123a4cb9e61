"""The first and the next start of a run: directory, manifest, position."""

from contextlib import suppress
from typing import Any

from torchsid.errors import CheckpointError, RunError
from torchsid.training import checkpoint
from torchsid.training.config import RunConfig
from torchsid.training.durable import os_errors, write_text
from torchsid.training.metrics import MetricsLog
from torchsid.training.progress import EpochSums, Progress
from torchsid.training.reporter import Reporter
from torchsid.training.run import RunDirectory, open_run
from torchsid.training.schema import differences
from torchsid.training.setup import Setup
from torchsid.training.toml import config_sha256, to_toml


def check_directory(run: RunDirectory, config: RunConfig, *, resume: bool) -> bool:
    """Return whether there is a run to go on with; a directory that is missing or empty is for a new one.

    Raises:
        RunError: the directory holds a run or other files already, or what is to be resumed is no run.
        CheckpointError: the run to be resumed has another configuration; names the settings that differ.
    """
    if run.path.exists() and not run.path.is_dir():
        raise RunError(f"{run.path} is a file: name another directory")
    if not run.path.exists() or not any(run.path.iterdir()):
        return False
    if not resume:
        raise RunError(f"{run.path} exists and is not empty: go on with it by --resume, or name another directory")
    changed = [each for each in differences(open_run(run.path).config(), config) if not each.startswith("distributed.")]
    if changed:
        raise CheckpointError(
            f"{run.path} was begun under another configuration; resume it with its own, or start a new run in another directory:"
            + "".join(f"\n  - {change}" for change in changed)
        )
    return True


def create_run(run: RunDirectory, config: RunConfig, manifest: dict[str, Any]) -> dict[str, Any]:
    """Make the run directory with configuration and manifest, and return the manifest.

    Raises:
        RunError: the operating system refuses; nothing is left behind.
    """
    existed = run.path.exists()
    try:
        with os_errors(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.config_file, to_toml(config))
        run.write_manifest(manifest)
    except RunError:
        # An empty directory may be a mount point or someone's working directory: it stays.
        with suppress(OSError):
            run.config_file.unlink(missing_ok=True)
            if not existed:
                run.path.rmdir()
        raise
    return manifest


def reopen_run(run: RunDirectory, manifest: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Write the manifest of a resumed run, which keeps the time of its first start, and return it.

    Raises:
        CheckpointError: the data are not those that the run began with.
        RunError: the operating system refuses.
    """
    before = run.manifest()
    if before["data"]["fingerprint"] != manifest["data"]["fingerprint"]:
        raise CheckpointError(
            f"the data have changed since {run.path} began (manifest.json, data.fingerprint): restore them, or start a new run"
        )
    now, then = manifest["versions"], before["versions"]
    if changed := [f"{name} {then.get(name)} -> {now[name]}" for name in now if now[name] != then.get(name)]:
        reporter.warning(f"resumed with other versions, results may differ in the last digits: {', '.join(changed)}")
    manifest = {**manifest, "started": before["started"]}
    run.write_manifest(manifest)
    return manifest


def open_log(run: RunDirectory, setup: Setup, reporter: Reporter) -> tuple[Progress, MetricsLog]:
    """Return where the run stands, with its weights and optimiser restored, and its log, cut back to there.

    Of several workers each has a log of its own; the lead's is the run's.

    Raises:
        CheckpointError: the checkpoint is damaged, and so is the one before it, if there is one.
        RunError: the log cannot be written.
    """
    state = _restore(run, setup, reporter)
    progress = Progress.from_json(state["progress"]) if state else Progress()
    if setup.world and not setup.world.leads:
        progress.sums = EpochSums()  # those of the stages before the last alone
        return progress, MetricsLog(run.log_of(setup.world.rank))
    return progress, MetricsLog(run.metrics_file, size=state["metrics_bytes"] if state else 0)


def _restore(run: RunDirectory, setup: Setup, reporter: Reporter) -> dict[str, Any] | None:
    last = run.checkpoint("last")
    found = [directory for directory in (last, checkpoint.previous(last)) if checkpoint.exists(directory)]
    for directory in found:
        try:
            return checkpoint.load(
                directory,
                setup.learner.module,
                setup.optimizer,
                config_sha256=config_sha256(setup.config),
                world=setup.world,
                memory=setup.memory,
            )
        except CheckpointError as error:
            if directory == found[-1]:
                raise
            reporter.warning(f"{error}. Going on from the checkpoint before it")
    return None
