"""What lets a network learn less than it seems to, or nothing: an error, or one warning each.

`loss.backward()` fails where there is no graph. Local losses are differentiated inside `backward`, where a mode, an optimiser or a
frozen parameter that leaves something out would go unnoticed.
"""

import inspect
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.cascade import Cascade
from torchsid.errors import NonFiniteError, some_of

_FEW_UPDATES = 3  # a gradient may be zero at first, as that behind a zero layer is
_MANY_CALLS = {True: 10, False: 50}  # with the optimiser's step, and without: gradients of several batches may be added up
_NOTICEABLE = 1e-4  # of the largest gradient: a bias in front of a normalisation has but rounding for its own
_ALL = "make the optimiser of all parameters of what is trained, as it is now: cascade.parameters()"


def check_optimizer(optimizer: Optimizer, module: nn.Module) -> None:
    """Raise unless an optimiser can step after `backward`, and holds the trainable parameters of a network and no others.

    Raises:
        ValueError: says what is in the way, and what to do.
    """
    kind = type(optimizer).__name__
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise ValueError(f"optimizer is of type {kind}: give one torch.optim.Optimizer over all parameters")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure and closure.default is inspect.Parameter.empty:
        why = "computes the loss again within its step, by a closure, and has none here"
        raise ValueError(f"{kind} {why}: take SGD, Adam or the like")
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if missed := [name for name, parameter in trainable.items() if id(parameter) not in held]:
        what = f"{len(missed)} of {len(trainable)} trainable parameters, {some_of(missed)}"
        raise ValueError(f"{kind} misses {what}, which would never move: {_ALL}; or freeze them, requires_grad_(False)")
    if foreign := len(held - {id(parameter) for parameter in module.parameters()}):
        why = "of another network, or of this one before it was cut again or converted"
        raise ValueError(f"{kind} holds {foreign} parameters that are not the network's, which would never move: {why}; {_ALL}")


class Lookout:
    """Follows the training of a network from step to step.

    Args:
        module: the network.
        idle_steps: how many first steps do not move all of it.
    """

    def __init__(self, module: nn.Module, *, idle_steps: int = 0) -> None:
        self._module, self._few_updates = module, idle_steps + _FEW_UPDATES
        self._told_mode = False
        self._parameters: dict[str, nn.Parameter] | None = None  # the trainable ones, until all is known of them
        self._calls = self._updates = 0
        self._first = self._last = torch.zeros(0)  # their norms

    def check_network(self) -> None:
        """Look at the network before the first step.

        Raises:
            ValueError: there is nothing to train.
            NonFiniteError: a parameter holds NaN or infinity.
        """
        named = dict(self._module.named_parameters())
        if made := [name for name, parameter in named.items() if parameter.is_inference()]:
            why = "made within torch.inference_mode(), so they cannot be trained"
            raise ValueError(f"{some_of(made)}: {why}; make the network outside")
        trainable = _trainable(self._module)
        if not trainable:
            raise ValueError(f"none of the {len(named)} parameters is trainable: requires_grad_(True) on what is to be trained")
        self._parameters, self._first = trainable, _norms(trainable)
        self._last = self._first
        if bad := _not_finite(trainable, self._first):
            raise NonFiniteError(f"{bad}: NaN or infinity before the first step; load or make the network anew")
        if isinstance(self._module, Cascade):
            _warn_of_frozen(self._module)

    def rely_on(self, optimizer: Optimizer) -> None:
        """Look at the network, and at an optimiser that will step it: nothing will have to be read between the steps.

        Raises:
            ValueError: as `check_optimizer` and `check_network`.
        """
        check_optimizer(optimizer, self._module)
        self.check_network()
        self._parameters = {}

    def begin(self) -> None:
        """Look at how a step begins.

        Raises:
            ValueError: no gradient would be recorded; the first time, as `check_network`.
        """
        if not torch.is_grad_enabled():  # nor is it in inference mode
            raise ValueError("backward within torch.no_grad() or inference_mode() would train nothing: call it outside")
        torch.clear_autocast_cache()  # an autocast around the loop would keep the weights of the first step
        if self._parameters is None and not is_captured():
            self.check_network()
        if not self._told_mode and (names := _in_evaluation_mode(self._module)):
            self._told_mode = True
            what = f"{some_of(names)}: in evaluation mode, without dropout, and running statistics stand still"
            why = "many models are loaded in evaluation mode, and left in it by a validation"
            _warn(f"{what}. Call train() before the steps; {why}")

    def end(self, optimizer: Optimizer | None = None) -> None:
        """Look at what a step, of an optimiser if it has stepped, has left: which parameters have moved since the first."""
        torch.clear_autocast_cache()  # nor is anything else to be computed with the weights of this step
        if not self._parameters or is_captured():
            return
        norms = _norms(self._parameters)
        self._calls += 1
        self._updates += not torch.equal(norms, self._last)
        self._last, still = norms, [each for each, same in zip(self._parameters, norms == self._first, strict=True) if same]
        if still and self._updates == self._few_updates:
            if optimizer is None:  # else the gradients are gone
                self._tell(still)
        elif not self._updates and self._calls == _MANY_CALLS[optimizer is not None]:
            rates = {float(group["lr"]) for group in optimizer.param_groups} if optimizer else set()
            why = "the learning rate is 0" if rates == {0.0} else "is the optimiser that of this network, and does it step?"
            _warn(f"no parameter has moved in {self._calls} calls of backward: {why}")
        elif still:
            return
        self._parameters = {}

    def _tell(self, still: Sequence[str]) -> None:
        """Warn of what has stood still while the rest has moved."""
        assert self._parameters
        norms = {name: float(each.grad.norm()) for name, each in self._parameters.items() if each.grad is not None}
        without = [name for name in still if name not in norms]
        missed = [name for name in still if norms.get(name, 0.0) > _NOTICEABLE * max(norms.values())]
        count = f"of {len(self._parameters)} trainable parameters"
        if missed:
            _warn(f"{len(missed)} {count} have gradients and never move, {some_of(missed)}: {_ALL}")
        if without:
            why = "the network does not use them, or detaches what it makes of them; if so it shall be, requires_grad_(False)"
            _warn(f"{len(without)} {count} get no gradient, {some_of(without)}: {why}")


def not_finite(module: nn.Module) -> str:
    """Return the names of a few trainable parameters that hold NaN or infinity; an empty text where there are none."""
    trainable = _trainable(module)
    return _not_finite(trainable, _norms(trainable)) if trainable else ""


def _not_finite(parameters: dict[str, nn.Parameter], norms: Tensor) -> str:
    return some_of([name for name, sound in zip(parameters, norms.isfinite().tolist(), strict=True) if not sound])


def is_captured() -> bool:
    """Return whether a CUDA graph is being recorded, which ends where somebody waits for the device."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in module.named_parameters() if each.requires_grad and each.numel()}


def _norms(parameters: dict[str, nn.Parameter]) -> Tensor:
    """Return the norm of each parameter, `[P]`, float64 on the CPU; it hardly ever stays when the parameter changes."""
    with torch.no_grad():
        norms = torch._foreach_norm([each.detach() for each in parameters.values()], 2, torch.float64)
        return torch.stack([norm.to(norms[0].device) for norm in norms]).cpu()


def _warn_of_frozen(cascade: Cascade) -> None:
    """Warn of stages that are frozen, whole or but for the head; a local loss is all that a stage learns from."""
    found: dict[str, list[str]] = {}
    for stage in range(cascade.depth):
        named = dict(cascade.named_stage_parameters(stage))
        trained = {name for name, parameter in named.items() if parameter.requires_grad}
        piece = {name for name in named if name.startswith("model.")}
        if named and not trained:
            found.setdefault("nothing of its own", []).append(str(stage + 1))
        elif piece and not piece & trained:
            found.setdefault("its head alone", []).append(str(stage + 1))
    for what, numbers in found.items():
        _warn(f"stage {', '.join(numbers)} trains {what}: the rest is frozen (requires_grad=False)")


def _in_evaluation_mode(module: nn.Module) -> list[str]:
    """Return which of the network and the parts it is made of are in evaluation mode, though trained, where that has an effect."""
    parts = module.named_children() if module.training else [("the network", module)]
    trained = [(name, part) for name, part in parts if not part.training and any(p.requires_grad for p in part.parameters())]
    return [name for name, part in trained if any(not each.training and _acts_by_mode(each) for each in part.modules())]


def _acts_by_mode(module: nn.Module) -> bool:
    """Return whether a module acts otherwise while it trains, as far as can be seen: running statistics, or dropout of any kind."""
    own = "p" if isinstance(module, nn.modules.dropout._DropoutNd) else "dropout"
    chance = getattr(module, own, getattr(module, "drop_prob", 0))
    return bool(getattr(module, "track_running_stats", False)) or (isinstance(chance, float) and chance > 0)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
