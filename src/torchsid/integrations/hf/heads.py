"""What stages have besides the model, in a file beside a model that is saved without it."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from torchsid.core.staged import StagedCascade
from torchsid.errors import CheckpointError, some_of

FILE = "stage_heads.safetensors"


def save_heads(cascade: StagedCascade, folder: str | Path) -> Path:
    """Write the heads of a cascade, and where its stages end, into `stage_heads.safetensors` in a folder; return its path."""
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().clone() for name, tensor in _own(cascade).items()}  # no two share memory
    save_file(tensors, path, metadata={"cuts": json.dumps(cuts_of(cascade))})
    return path


def load_heads(cascade: StagedCascade, folder: str | Path) -> None:
    """Load the heads that `save_heads` has written into a folder.

    Raises:
        CheckpointError: they are missing, damaged, or of a model that was cut elsewhere.
    """
    path = Path(folder) / FILE
    try:
        with safe_open(path, framework="pt") as file:
            cuts = json.loads((file.metadata() or {}).get("cuts", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}, the heads of the stages, cannot be read: {error}") from None
    if cuts != cuts_of(cascade):
        ends = [", ".join(each) or "nothing" for each in (cuts or [], cuts_of(cascade))]
        raise CheckpointError(f"{path} is of stages that end after {ends[0]}, not after {ends[1]}: give stages={cuts}")
    own = _own(cascade)
    if wrong := sorted(name for name in own.keys() | tensors.keys() if _form(own, name) != _form(tensors, name)):
        raise CheckpointError(f"{path} is of other heads: {some_of(wrong)} differ in shape or are missing")
    cascade.load_state_dict(tensors, strict=False)  # the model has been loaded


def cuts_of(cascade: StagedCascade) -> list[str]:
    """Return the submodules after which the stages end, but for the last."""
    return [stage.cut for stage in cascade.plan.stages[:-1]] if cascade.plan else []


def _own(cascade: StagedCascade) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in cascade.state_dict().items() if not name.startswith("model.")}


def _form(tensors: dict[str, Tensor], name: str) -> object:
    return getattr(tensors.get(name), "shape", None)
