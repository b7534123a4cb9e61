"""What a model must be before it can be cut: itself and not a wrapper of it, run by Python, with weights that can be trained."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torchsid.core.calling import Inputs, call
from torchsid.errors import CutError

_WRAPPERS = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}


def check_model(model: nn.Module) -> None:
    """Refuse what hides a model's submodules or gradients, all of it in one CutError."""
    if problems := list(_problems(model)):
        raise CutError("; ".join(problems))


def _problems(model: nn.Module) -> Iterator[str]:
    if not isinstance(model, nn.Module):
        yield f"{type(model).__name__} is no model: give an nn.Module"
        return
    for name, part in model.named_modules():
        where = f"the submodule {name!r}" if name else "the model"
        if wrapper := _WRAPPERS & {kind.__name__ for kind in type(part).__mro__}:
            found = wrapper.pop()
            yield f"{where} is wrapped by {found}: cut the model itself (.module), and train its stages on many workers by torchrun"
        if hasattr(part, "_orig_mod") or part._compiled_call_impl is not None:
            yield f"{where} is compiled: cut it as it was, with by='graph', and compile the stages by cascade.compile_stages()"
    if isinstance(model, torch.jit.ScriptModule):
        yield "the model is scripted, and its submodules run outside Python: cut the one that was given to torch.jit.script"
    if any(not is_lazy(parameter) and parameter.is_inference() for parameter in model.parameters()):
        yield "the model was made under torch.inference_mode, and can never be trained: make it outside, or a copy.deepcopy of it"


def initialise_lazy_layers(model: nn.Module, example: Inputs) -> None:
    """Run the example through a model some of whose parameters have no shape yet (`nn.LazyLinear`), so that they get one."""
    if any(map(is_lazy, chain(model.parameters(), model.buffers()))):
        modes = [(part, part.training) for part in model.modules()]
        with torch.no_grad():
            call(model.eval(), example)
        for part, training in modes:
            part.training = training
