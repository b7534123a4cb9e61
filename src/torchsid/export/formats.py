"""Writing a module in a format that other runtimes read, and running what was written.

Every input and output has its batch first, whose size may differ from call to call.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from torchsid.errors import ConfigError, ExportError, MissingPackageError
from torchsid.packages import require

Run = Callable[..., list[Tensor]]

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
"""The formats, and how their files end."""
METADATA = "torchsid"
"""Below which name a file says what it is, as JSON."""


def write(module: nn.Module, inputs: Sequence[Tensor], path: Path, about: Mapping[str, Any], to: str) -> Run:
    """Write a module, and return what runs the file.

    Args:
        module: in evaluation mode, from tensors to a tensor or a tuple of them.
        inputs: an example of two samples or more.
        path: the file.
        about: what the file says of itself.
        to: the format.

    Raises:
        MissingPackageError: a package is not installed.
        ExportError: the module cannot be exported; says why.
    """
    if to not in SUFFIXES:
        raise ConfigError([f"{to!r} given; allowed is {' or '.join(SUFFIXES)}"], source="format")
    if to == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, extra="onnx", purpose="ONNX")
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad(), _quiet():
            shapes = (tuple({0: batch} for _ in inputs),)
            program = torch.export.export(_Listing(module), tuple(inputs), dynamic_shapes=shapes, strict=False)
            return (_write_onnx if to == "onnx" else _write_program)(program, len(inputs), path, json.dumps(about))
    except MissingPackageError:
        raise
    except Exception as error:  # of the exporter, in any of its passes
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"the network cannot be exported to {to}: {said[:300]}") from error


class _Listing(nn.Module):
    """Takes any number of tensors, and always returns a tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        found = self.module(*values)
        return found if isinstance(found, tuple) else (found,)


def _write_onnx(program: ExportedProgram, inputs: int, path: Path, about: str) -> Run:
    """Write an ONNX file with its weights within; inputs are `input_0` …, outputs `output_0` …, the last of which is the belief."""
    import onnxruntime

    names = [f"input_{i}" for i in range(inputs)]
    answers = [f"output_{i}" for i in range(len(program.graph_signature.user_outputs))]
    written = torch.onnx.export(program, input_names=names, output_names=answers, dynamo=True, verbose=False)
    assert written is not None
    written.model.metadata_props[METADATA] = about
    written.save(str(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*values: Tensor) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run


def _write_program(program: ExportedProgram, inputs: int, path: Path, about: str) -> Run:
    """Write what `torch.export.load` reads; its extra file `torchsid` says what it is."""
    torch.export.save(program, path, extra_files={METADATA: about})
    loaded = torch.export.load(path).module()

    def run(*values: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(loaded(*values))

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporters say on the way, such as that torchvision is not installed."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
