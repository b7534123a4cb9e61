"""Trained networks on the Hugging Face hub: `save_pretrained`, `push_to_hub` and `from_pretrained`, with a model card.

What is published is a run without its optimiser: `torchsid predict` and `torchsid evaluate` read the folder as they read a run.
Needs the package huggingface_hub (the extra `hub`).
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torchsid.__about__ import __version__
from torchsid.durable import check_replaceable, replace_file, replacing_directory
from torchsid.errors import RunError
from torchsid.packages import require
from torchsid.study.statistics import proportion_interval
from torchsid.training import checkpoint
from torchsid.training.config import config_sha256, to_toml
from torchsid.training.run import LoadedNetwork, RunDirectory, Which, load_network, open_run

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_CARD = """\
# {title}

{description}

{results}
## Use it

```python
from torchsid.integrations.hub import from_pretrained

network = from_pretrained("{name}")
log_beliefs = network.learner.log_beliefs(network.prepare(inputs))  # after every stage, the prior first
```

or `torchsid predict FOLDER INPUT`, with this folder. `inputs` are as the data set stores them.

## How it was made

    {command}

torchsid {version}; {seconds:.0f} s on {hardware}; seed {seed}; data: {data}; {locality}.
`config.toml` has every setting, `manifest.json` the checksums of the data, versions and hardware, `evaluation.json` all results.
"""


def save_pretrained(run: str | Path, folder: str | Path, *, weights: Which = "best", name: str = "") -> Path:
    """Write a finished run as it is published, which replaces a folder that was written so before.

    Args:
        run: its directory.
        folder: where to.
        weights: `best` or `last`.
        name: of the repository, for the model card; the folder's by default.

    Returns:
        The folder, with `config.json`, `README.md`, the weights as safetensors and what the run says of itself; paths of this
        machine are left out.

    Raises:
        RunError: the run has not finished, or the folder holds something else.
    """
    made, folder = open_run(Path(run)), Path(folder)
    manifest, network = made.manifest(), load_network(made, weights)
    if manifest.get("status") != "finished":
        raise RunError(f"{run} has not finished: go on with it by `torchsid train --resume` first")
    check_replaceable(folder, _is_ours, "holds other things: name a new folder")
    evaluation, config = made.evaluation(), network.config
    if hasattr(config.data, "path"):
        config = replace(config, data=replace(config.data, path=""))
    command = "torchsid train config.toml"
    with replacing_directory(folder) as fresh:
        published = RunDirectory(fresh)
        replace_file(published.config_file, to_toml(config))
        sha256 = config_sha256(config)
        published.write_manifest({**manifest, "command": command, "config_sha256": sha256, "git": None})
        published.write_evaluation(evaluation)
        (fresh / "checkpoints").mkdir()
        checkpoint.save_weights(published.checkpoint(weights), network.learner, config_sha256=sha256)
        if (made.path / "samples.safetensors").is_file():
            shutil.copyfile(made.path / "samples.safetensors", fresh / "samples.safetensors")
        results = _results(evaluation.get(weights, {}))
        says = {
            "library_name": "torchsid",
            "torchsid": __version__,
            "task": config.task,
            "recipe": config.recipe,
            "weights": weights,
        }
        replace_file(fresh / "config.json", json.dumps({**says, "results": results}, indent=1) + "\n")
        replace_file(fresh / "README.md", _card(network, manifest, results, command, name or folder.name))
    return folder


def push_to_hub(
    run: str | Path, repository: str, *, weights: Which = "best", private: bool = False, token: str | None = None
) -> str:
    """Publish a finished run as `OWNER/NAME` on the hub, and return its address; see `save_pretrained`."""
    hub = require("huggingface_hub", extra="hub", purpose="the hub")
    api = hub.HfApi(token=token)
    with TemporaryDirectory() as directory:
        folder = save_pretrained(run, Path(directory) / "model", weights=weights, name=repository)
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"torchsid {__version__}")
    return str(address)


def from_pretrained(name: str | Path, *, revision: str | None = None, device: str = "cpu") -> LoadedNetwork:
    """Return a published network, from a folder, or from the hub as `OWNER/NAME`.

    Raises:
        RunError: it holds no such network.
    """
    folder = Path(name)
    if not folder.is_dir():
        hub = require("huggingface_hub", extra="hub", purpose="the hub")
        try:
            folder = Path(hub.snapshot_download(str(name), revision=revision))
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise RunError(f"{name!r} is no folder, and the hub does not give it: {str(error).splitlines()[0]}") from None
    return load_network(folder, device=device)


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is one that was published, and not, for example, a model of another library."""
    try:
        return bool(json.loads((folder / "config.json").read_text("utf-8"))["library_name"] == "torchsid")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _results(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what the last stage reached on each split, accuracies with their 95 % interval."""
    found: dict[str, dict[str, float]] = {}
    for split in ("validation", "test"):
        if not (measured := scores.get(split)):
            continue
        judged = ("kl",) if "mae" in measured.get("scores", {}) else ("accuracy", "kl")  # which bin of a number is hit says little
        own = {name: measured[name][-1] for name in judged if measured.get(name)}
        own |= {name: values[-1] for name, values in measured.get("scores", {}).items()}
        if "accuracy" in own:
            interval = proportion_interval(round(own["accuracy"] * measured["n"]), measured["n"])
            own |= {"accuracy_low": interval.low, "accuracy_high": interval.high}
        found[split] = own | {"n": measured["n"]}
    return found


def _card(network: LoadedNetwork, manifest: dict[str, Any], results: dict[str, dict[str, float]], command: str, name: str) -> str:
    """Return the model card: what it is, how good it is, how it is used and how it was made."""
    columns = [split for split in ("validation", "test") if split in results]
    found = dict.fromkeys(each for split in columns for each in results[split])
    names = [each for each in found if not each.startswith("accuracy_")]
    rows = [f"| | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    rows += [f"| {each} | {' | '.join(_shown(results[split], each) for split in columns)} |" for each in names]
    depth = getattr(network.learner.module, "depth", 1)
    stages = f"in {depth} stages, each of which answers" if depth > 1 else "as a whole"
    described = f"{network.config.label}, trained {stages}, by the method `{network.config.learner.name}`."
    card = _CARD.format(
        title=name,
        description=described,
        results="\n".join([*rows, ""]) if columns else "",
        name=name,
        command=command,
        version=manifest["torchsid"],
        seconds=manifest["train_seconds"],
        hardware=manifest["hardware"]["cpu"],
        seed=manifest["seed"],
        data=manifest["data"].get("name", network.config.task),
        locality=manifest["locality"]["detail"],
    )
    return f"---\n{_front(network).to_yaml()}\n---\n\n{card}"


def _front(network: LoadedNetwork) -> "ModelCardData":
    """Return what the hub reads of a card."""
    hub = require("huggingface_hub", extra="hub", purpose="a model card")
    tags = ["torchsid", "local-learning", network.config.learner.name]
    data: ModelCardData = hub.ModelCardData(library_name="torchsid", tags=tags)
    return data


def _shown(own: dict[str, float], name: str) -> str:
    if name not in own:
        return ""
    if name == "n":
        return f"{own[name]:,}"
    if name == "accuracy":
        return f"{own[name]:.2%} ({own['accuracy_low']:.2%} to {own['accuracy_high']:.2%})"
    return f"{own[name]:.4f}"
