"""A training step of fixed shape, recorded once and replayed: on CUDA one launch in place of many hundreds.

Launching a small network's step takes the processor longer than computing it takes the device. A CUDA graph has all of it in one
launch, with the memory that it was recorded with: a replay reads its inputs and writes its results at the same addresses every
time. So whatever may change from step to step is a tensor that the recorded kernels read: the inputs, the learning rates, α of
the stages, and the seed and offset of the CUDA generator, which PyTorch hands to a graph before each replay (`torch.manual_seed`
works as ever). All else that a step reads is as it was when it was recorded.
"""

import gc
import random
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.learner import Learner
from torchsid.core.objective import HeldObjective, LocalObjective

WARM_UP = 3  # calls before one is recorded: they choose kernels, and make the optimiser's state
MOST_GRAPHS = 2  # recorded steps that are kept, such as one of a full batch and one of the last
_PLAIN = (bool, int, float, str, type(None))

P = ParamSpec("P")
T = TypeVar("T")


class Recorder(Protocol):
    """Records what a function does on a device."""

    def eagerly(self) -> AbstractContextManager[None]:
        """Return the context in which a function runs that will be recorded later."""

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], object]]:
        """Record a function, of which nothing is done before the first replay; whatever it raises leaves the device usable.

        Returns what it returned, whose tensors every replay fills anew; and the replay.
        """


class CudaGraphs:
    """Records CUDA graphs, which share their memory: what one has computed is gone when another is replayed."""

    def __init__(self, device: torch.device) -> None:
        self._device = torch.cuda.current_device() if device.index is None else device.index
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        """Run on the stream that is recorded: libraries keep memory, and autograd its nodes, by stream."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            here.wait_stream(self._stream)

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], object]]:
        """See `Recorder.record`."""
        graph, generator = torch.cuda.CUDAGraph(), torch.cuda.default_generators[self._device]
        state, cause = generator.clone_state(), None
        gc.collect()  # autograd nodes that are left from another stream would draw it into the graph
        try:
            # Of this thread alone: another may be fetching data meanwhile.
            with self.eagerly(), torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                try:
                    result = function()
                except Exception as error:
                    cause = error
                    raise
        except Exception as error:  # where a forbidden call has spoilt the recording, that of its end hides the cause
            with suppress(RuntimeError, AttributeError):  # one of these raises where PyTorch has ended all itself
                graph.reset()
                torch._C._cuda_endAllocateToPool(self._device, self._pool)
                torch._C._cuda_releasePool(self._device, self._pool)
            generator.graphsafe_set_state(state)  # one that is not recorded
            raise (cause or error) from None
        return result, graph.replay


def recorder_of(device: torch.device) -> Recorder | None:
    """Return what records on a device; None where steps cannot be recorded."""
    return CudaGraphs(device) if device.type == "cuda" else None


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """A recorded step."""

    inputs: list[Tensor]
    replay: Callable[[], object]
    result: Any
    gradients: list[tuple[nn.Parameter, Tensor]]  # what the step leaves in `.grad`


class CapturedStep(Generic[P, T]):
    """A training step that is recorded after a few calls, and from then on replayed; it takes and returns what the step does.

        step = CapturedStep(learner.step, learner)          # SID(cascade, optimizer=...)
        backward = CapturedStep(learner.backward, learner)  # adds to `.grad`, as without

    On CUDA the first three calls with the same shapes run eagerly, then the step is recorded as a CUDA graph. Without CUDA
    every call is a plain call. Learning rates, α (`learner.objective = replace(...)`), the random seed and the tensors that are
    given may change from call to call. Other shapes or settings are recorded anew, up to two graphs; what goes beyond runs
    eagerly, as the last batch of an epoch does at first. What cannot be recorded runs eagerly too, and a warning says once why:
    a step that waits for the device (`.item()`, control flow that depends on data), one that copies from the host, one with a
    callback.

    What it returns are copies, the caller's own. `.grad` is the graph's, and overwritten by the next call. A change of the
    settings of learner, objective or optimiser, of train and eval modes and of the parameters that are trained is noticed; what
    else the step reads in Python is as it was when it was recorded. The optimiser should be `fused=True`: others read their
    learning rate in Python, so that each one takes a graph of its own.

    Args:
        function: the step; a function of tensors, in tuples, lists or mappings, that returns such.
        learner: whose network it trains.
        optimizer: the one that it steps, if it does, after `optimizer.zero_grad()`; of `learner.step` it is the learner's.
        recorder: records the step; by default CUDA graphs where the network is on CUDA.
        warn: is told what cannot be recorded, and why.
    """

    def __init__(
        self,
        function: Callable[P, T],
        learner: Learner,
        optimizer: Optimizer | None = None,
        *,
        recorder: Recorder | None = None,
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        if optimizer is None and function == learner.step:
            optimizer = learner.optimizer
        self._function, self._learner, self._optimizer, self._warn = function, learner, optimizer, warn
        self._parameters, self._modules = list(learner.module.parameters()), list(learner.module.modules())
        self._device = self._parameters[0].device
        # Gradients of earlier batches come from tensors that lie elsewhere each time.
        self._recorder = None if learner.delays_gradients else recorder or recorder_of(self._device)
        self._numbers = _Numbers(learner, optimizer, self._device)
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, _Graph] = {}
        self._told: set[str] = set()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Take the step."""
        if self._recorder is None:
            return self._function(*args, **kwargs)
        if self._numbers.moved():  # the graphs know another state of the optimiser
            self._graphs.clear()
            self._calls.clear()
        leaves, form = tree_flatten((args, kwargs))
        key = self._key(leaves, form)
        if key in self._graphs:
            return self._replayed(self._graphs[key], leaves)
        if key is not None and self._is_due(key):
            try:
                self._graphs[key] = self._record(leaves, form)
            except Exception as error:
                self._graphs.clear()  # their random numbers came from the generator's former state
                self._recorder, reason = None, _reason(error, self._learner.module)
                self._warn(f"the step is not captured and runs eagerly: {reason}")
                return self._function(*args, **kwargs)
            return self._replayed(self._graphs[key], leaves)
        with self._recorder.eagerly():
            return self._function(*args, **kwargs)

    def _key(self, leaves: list[Any], form: object) -> Hashable:
        """Return everything that a recorded step has fixed; None where a call cannot be recorded."""
        strange = [leaf for leaf in leaves if not isinstance(leaf, (Tensor, *_PLAIN)) and leaf is not do_nothing]
        if strange:
            self._tell(f"a {type(strange[0]).__name__} is given to it: give tensors, numbers and names, and no callback")
            return None
        given = tuple((x.shape, x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)
        kind = self._device.type
        arithmetic = (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        modes = (*(each.training for each in self._modules), *(each.requires_grad for each in self._parameters))
        return (given, str(form), arithmetic, modes, self._numbers.fixed())

    def _is_due(self, key: Hashable) -> bool:
        """Count the call; return whether it is to be recorded."""
        if key not in self._calls and len(self._calls) > 2 * MOST_GRAPHS:
            self._tell("its shapes or settings change from call to call; pad the batches, and set fused=True in the optimiser")
            return False
        self._calls[key] = self._calls.get(key, 0) + 1
        return self._calls[key] > WARM_UP and len(self._graphs) < MOST_GRAPHS

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self._warn(f"a step is not captured and runs eagerly: {reason}")

    def _record(self, leaves: list[Any], form: Any) -> _Graph:
        assert self._recorder is not None
        inputs = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(inputs, form)
        before, drawn = [parameter.grad for parameter in self._parameters], (random.getstate(), torch.get_rng_state())
        for parameter in self._parameters:
            parameter.grad = None
        torch.clear_autocast_cache()  # weights that were cast before would be recorded as they are now
        try:
            with self._numbers.held():
                result, replay = self._recorder.record(lambda: self._function(*args, **kwargs))
            gradients = [(parameter, parameter.grad) for parameter in self._parameters if parameter.grad is not None]
            if random.getstate() != drawn[0] or not torch.equal(torch.get_rng_state(), drawn[1]):
                raise RuntimeError("random numbers are drawn on the host, which a replay would not repeat")
        finally:
            torch.clear_autocast_cache()
            random.setstate(drawn[0])
            torch.set_rng_state(drawn[1])
            for parameter, gradient in zip(self._parameters, before, strict=True):
                parameter.grad = gradient
        return _Graph(inputs=inputs, replay=replay, result=result, gradients=gradients)

    def _replayed(self, graph: _Graph, leaves: list[Any]) -> T:
        for recorded, given in zip(graph.inputs, leaves, strict=True):
            if isinstance(recorded, Tensor):
                recorded.copy_(given, non_blocking=True)
        self._numbers.refresh()
        # The step of an optimiser has no use for them; copies, since a graph's memory is overwritten.
        old = {} if self._optimizer else {p: p.grad.clone() for p in self._parameters if p.grad is not None}
        graph.replay()
        for parameter, gradient in graph.gradients:
            parameter.grad = gradient
        added = [(gradient, old[parameter]) for parameter, gradient in graph.gradients if parameter in old]
        if added:
            torch._foreach_add_(*zip(*added, strict=True))
        copies: T = tree_map_only(Tensor, torch.clone, graph.result)
        return copies


class _Numbers:
    """The numbers that a step may find changed when it is replayed: while it is recorded, it reads them on the device."""

    def __init__(self, learner: Learner, optimizer: Optimizer | None, device: torch.device) -> None:
        self._learner, self._optimizer, self._device = learner, optimizer, device
        self._state: tuple[object, int] | None = None
        self._objective: LocalObjective | None = None  # whose α the tensor has
        self._alphas: Tensor | None = None
        self._rates: list[Tensor] = []

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups if self._optimizer else []

    def moved(self) -> bool:
        """Return whether the optimiser has loaded a state since the last call, or got another group."""
        before, self._state = self._state, (self._optimizer and id(self._optimizer.state), len(self._groups))
        if moved := before != self._state:  # CUDA's kernels read single precision; those of the processor read a number
            kind = torch.float64 if self._device.type == "cpu" else torch.float32
            self._rates = [torch.zeros((), dtype=kind, device=self._device) for _ in self._groups]
        return moved

    def fixed(self) -> Hashable:
        """Return the settings of learner, objective and optimiser that are no such numbers."""
        settings = [(vars(self._learner), "objective")]
        if self._learner.objective:
            settings.append((vars(self._learner.objective), "alpha"))
        settings += [(group, "lr" if _is_held(group) else "") for group in self._groups]
        return tuple((name, _mark(value)) for each, but in settings for name, value in each.items() if name != but)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put tensors in the place of the numbers; afterwards these are as before."""
        objective, before = self._learner.objective, [dict(group) for group in self._groups]
        if self._alphas is None and objective is not None:
            self._alphas = torch.zeros(self._depth, dtype=torch.float64, device=self._device)
        self.refresh()
        try:
            if self._alphas is not None and objective is not None:
                self._learner.objective = HeldObjective(**vars(objective), held=self._alphas)
            for group, rate in zip(self._groups, self._rates, strict=True):
                if _is_held(group):
                    group["lr"] = rate
                if group.get("fused") and "capturable" in group:  # as a fused Adam is, whatever it says
                    group["capturable"] = True
            yield
        finally:
            self._learner.objective = objective
            for group, numbers in zip(self._groups, before, strict=True):
                group.update(numbers)

    def refresh(self) -> None:
        """Fill the tensors; by kernels, because a copy of a number from the host would wait for the device."""
        for group, rate in zip(self._groups, self._rates, strict=True):
            if _is_held(group):
                rate.fill_(group["lr"])
        objective = self._learner.objective
        if self._alphas is not None and objective is not None and objective is not self._objective:
            for held, alpha in zip(self._alphas, objective.alphas(self._depth), strict=True):
                held.fill_(alpha)
            self._objective = objective

    @property
    def _depth(self) -> int:
        return self._learner.module.depth if isinstance(self._learner.module, Cascade) else 1


def _mark(value: object) -> Hashable:
    """Return what changes when a setting does: numbers and names themselves, and of what else there may be its identity."""
    return repr(value) if isinstance(value, (*_PLAIN, tuple)) else id(value)


def _is_held(group: dict[str, Any]) -> bool:
    """Return whether a group's learning rate is a number that its kernels can read from a tensor."""
    return not isinstance(group["lr"], Tensor) and bool(group.get("fused") or group.get("capturable"))


def _reason(error: Exception, module: nn.Module) -> str:
    """Return what went wrong, and in which of the network's modules, if it was in one."""
    names = {part: name for name, part in module.named_modules() if name}
    frames = (frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__))
    parts = [part for part in frames if isinstance(part, nn.Module) and part in names]
    where = f"{names[parts[-1]]} ({type(parts[-1]).__name__}): " if parts else ""
    return where + (str(error).strip() or type(error).__name__).splitlines()[0]
