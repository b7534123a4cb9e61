"""Random values of a setting: within its annotation, and beyond it."""

import math
import types
from collections.abc import Sequence
from dataclasses import astuple
from random import Random
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from torchsid.settings import OneOf

SMALL = (0, 0, 1, 2, 3, 5, 8, 15)
"""What is added to the least allowed integer: networks of a few thousand weights."""
HUGE = (2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**400)
STRANGE_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, -0.0)
STRANGE_TEXTS = ("", " ", "\x00", "\udcff", "None", "../..", "a" * 10_000, "ä😀\n\r\t", "-1", "true", "[[", "{", "a:b")
ALPHAS = ("auto", "linear:1:0.2", "cosine:0:1", "step:0.5:1")


def valid(annotation: Any, random: Random, default: Any) -> Any:
    """Return a value that the annotation allows, small where it is a size; the default, where only its author knows a good one."""
    origin = get_origin(annotation)
    if one_of := OneOf.within(annotation):
        return random.choice([*one_of.registry.names(), *one_of.also])
    if origin is Literal:
        return random.choice(get_args(annotation))
    if origin is Annotated:
        return _within(annotation.__origin__, annotation.__metadata__, random, default)
    if origin is types.UnionType or str(origin) == "typing.Union":
        return random.choice([random.choice(ALPHAS), random.random()]) if str in get_args(annotation) else default
    if annotation is bool:
        return random.random() < 0.5
    if annotation is int:
        return random.choice(SMALL)
    if annotation is float:
        return _positive(random)
    return default


def _within(kind: Any, bounds: Sequence[Any], random: Random, default: Any) -> Any:
    low = next((_number(each) for each in bounds if isinstance(each, Ge | Gt)), None)
    high = next((_number(each) for each in bounds if isinstance(each, Le | Lt)), None)
    if kind is int:
        step = next((each.multiple_of for each in bounds if isinstance(each, MultipleOf)), 1)
        least = int(low or 0) + any(isinstance(each, Gt) for each in bounds)
        value = least + random.choice(SMALL) * step
        return min(value, int(high)) if high is not None else value
    if kind is float and low is not None and high is not None and math.isfinite(high):
        inside = low + (high - low) * random.uniform(0.01, 0.99)
        ends = [low] * any(isinstance(each, Ge) for each in bounds) + [high] * any(isinstance(each, Le) for each in bounds)
        return random.choice([inside, inside, *ends])
    if kind is float:
        zero = [0.0] if any(isinstance(each, Ge) for each in bounds) else []
        return random.choice([_positive(random), *zero])
    return default


def _number(bound: Any) -> float:
    return float(astuple(bound)[0])


def _positive(random: Random) -> float:
    return float(f"{10 ** random.uniform(-5, 0.3):.3g}")


def invalid(annotation: Any, random: Random) -> Any:
    """Return a value that the annotation forbids: of another type, or just beyond a bound."""
    origin = get_origin(annotation)
    wrong: list[Any] = [{"a": 1}, [[1], {}]]
    if OneOf.within(annotation) or origin is Literal:
        return random.choice([*wrong, *STRANGE_TEXTS, 1, True])
    bounds = annotation.__metadata__ if origin is Annotated else ()
    kind = annotation.__origin__ if origin is Annotated else annotation
    if kind in (int, float):
        step = 1 if kind is int else 1e-9
        for each in bounds:
            number = _number(each) if isinstance(each, Ge | Gt | Le | Lt) else math.inf
            if math.isfinite(number):
                outward = {Ge: -step, Gt: 0, Le: step, Lt: 0}[type(each)]
                wrong += [kind(number + outward), kind(number + 10**6 * outward)]
        wrong += ["3", "x" * 10_000, True, *([] if kind is float and not bounds else [float("nan"), -float("inf")])]
        return random.choice([*wrong, 1.5] if kind is int else wrong)
    if kind is bool:
        return random.choice([*wrong, 1, "yes", 0.0])
    return random.choice([*wrong, 1, True, 0.5]) if kind is str else None


def extreme(annotation: Any, random: Random) -> Any:
    """Return a number at the far end of what its type can hold, allowed or not; None where the setting is no number."""
    kind = annotation.__origin__ if get_origin(annotation) is Annotated else annotation
    if kind is int:
        return random.choice([*HUGE, *(-each for each in HUGE)])
    if kind is float:
        return random.choice([*STRANGE_FLOATS, 10 ** random.uniform(-300, 300), *HUGE])
    return None
