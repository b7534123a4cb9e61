"""Settings live with what they set: they are the keyword-only parameters of a class or function.

A range stands in the annotation, `q: Annotated[float, Gt(0), Le(1)] = 0.7`, and the meaning in the docstring's `Args:`. Whoever
calls the class and whoever configures it by name are checked by the same annotation.
"""

import ast
import inspect
import operator
import os
import re
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from functools import cache, partial, wraps
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote_to_bytes

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from torchsid.errors import unknown_name
from torchsid.registry import Registry

if TYPE_CHECKING:
    from pydantic import ConfigDict

STRICT: "ConfigDict" = {"extra": "forbid", "strict": True}
"""Of every dataclass of settings that pydantic checks: `epochs = true` and `epochs = "3"` are slips and not numbers."""

P = ParamSpec("P")
T = TypeVar("T")

Share = Annotated[float, Ge(0), Lt(1)]
"""A number from 0 to 1, without 1."""
Weight = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""
Positive = Annotated[float, Gt(0), Lt(float("inf"))]
NotNegative = Annotated[float, Ge(0), Lt(float("inf"))]
Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Depth = Annotated[int, Ge(1), Le(4096)]
"""A number of stages."""
Seed = Annotated[int, Ge(0), Le(2**53)]
"""What every generator takes and every file holds."""
Temperature = Annotated[float, Ge(1e-3), Le(1e3)]
"""Of a distribution; beyond these it is one outcome, or uniform."""

_BOUNDS: Mapping[type, tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", operator.ge),
    Gt: ("above", operator.gt),
    Le: ("at most", operator.le),
    Lt: ("below", operator.lt),
    MultipleOf: ("a multiple of", lambda value, step: value % step == 0),
}
_hints = cache(partial(get_type_hints, include_extras=True))  # slow, and asked for at every call
_PLAIN = (bool, int, float, str, types.NoneType)


@dataclass(frozen=True)
class Setting:
    """One setting of a class or function."""

    name: str
    annotation: Any
    """Its type, with the range as metadata."""
    default: Any
    """`inspect.Parameter.empty` where it must be given."""
    description: str


@dataclass(frozen=True)
class OneOf:
    """Metadata of a setting that names an entry of a registry, whose own settings join in: `Annotated[Any, OneOf(CLASSIFIERS)]`.

    `build` hands the function the entry itself, with its settings filled in.
    """

    registry: Registry
    also: tuple[str, ...] = ()
    """Values that are no entry and are handed on as they are."""
    by_name: bool = False
    """Whether the function makes the entry in a way of its own: it is handed the name, and its settings as `NAME_settings`. In a
    configuration these begin with the setting's name: `head_width`."""

    @staticmethod
    def within(annotation: Any) -> "OneOf | None":
        """Return it where an annotation has one."""
        return next((each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, OneOf)), None)


def path_of(setting: str) -> Path:
    """Return the path that a setting names, as such or as a `file:` URI; `~` is the user's folder."""
    is_uri = setting.startswith("file:///")
    return Path(os.fsdecode(unquote_to_bytes(setting.removeprefix("file://")))) if is_uri else Path(setting).expanduser()


def path_setting(path: str) -> str:
    """Return a path as a setting: as it is, or as a `file:` URI where it has bytes that are no UTF-8, which TOML cannot hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).expanduser().absolute().as_uri()
    return path


def all_settings(entry: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the settings of a class or function, and of the entries that it is to be built of, which the values decide.

    Raises:
        ConfigError: a chosen entry does not exist.
    """
    own = settings_of(entry)
    joined = dict(own)
    for setting in own.values():
        for key, theirs in _of_chosen(setting, values):
            joined.setdefault(key, replace(theirs, name=key))
    return joined


def build(entry: Callable[..., T], values: Mapping[str, Any], *arguments: Any) -> T:
    """Call a class or function with its settings; entries that they name are called `partial(entry, **their settings)`."""
    own = settings_of(entry)
    given = {name: value for name, value in values.items() if name in own}
    for name, setting in own.items():
        one_of, chosen = OneOf.within(setting.annotation), _chosen(setting, values)
        theirs = {each.name: values[key] for key, each in _of_chosen(setting, values) if key in values and key not in own}
        if one_of and one_of.by_name:
            given[f"{name}_settings"] = theirs
        elif chosen:
            given[name] = partial(chosen, **theirs)
    return entry(*arguments, **given)


def _chosen(setting: Setting, values: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return the entry that a setting names, or None where it names none."""
    one_of = OneOf.within(setting.annotation)
    name = values.get(setting.name, setting.default)
    if one_of is None or name is inspect.Parameter.empty or name in one_of.also:
        return None
    return one_of.registry.load(str(name))  # a number or a list, which nobody has checked yet, is no name either


def _of_chosen(setting: Setting, values: Mapping[str, Any]) -> Iterator[tuple[str, Setting]]:
    """Yield the settings of the entry that a setting names, and what they are called in a configuration."""
    one_of, chosen = OneOf.within(setting.annotation), _chosen(setting, values)
    prefix = f"{setting.name}_" if one_of and one_of.by_name else ""
    for name, theirs in settings_of(chosen).items() if chosen else ():
        yield prefix + name, theirs


@cache
def settings_of(entry: Callable[..., Any]) -> Mapping[str, Setting]:
    """Return the settings of a class or function: its keyword-only parameters of types that a TOML file can hold."""
    holder = entry.__init__ if isinstance(entry, type) and not is_dataclass(entry) else entry  # type: ignore[misc]
    hints = _hints(holder)
    described = dict(_described(entry))
    made = fields(entry) if is_dataclass(entry) else ()
    defaults = {each.name: each.default_factory() for each in made if callable(each.default_factory)}
    return {
        name: Setting(name, hints[name], defaults.get(name, parameter.default), described.get(name, ""))
        for name, parameter in inspect.signature(entry).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name in hints and _can_be_written(hints[name])
    }


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function or constructor so that arguments out of their annotation's range or names are one ValueError."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        hints = _hints(function)
        problems = [problem for name, value in kwargs.items() for problem in _out_of_range(name, value, hints.get(name))]
        if problems:
            raise ValueError("; ".join(problems))
        return function(*args, **kwargs)

    return call


def out_of_range(settings: Any) -> list[str]:
    """Return which values of a dataclass are out of their annotation's range or names."""
    hints = _hints(settings.__class__)
    return [problem for name, value in vars(settings).items() for problem in _out_of_range(name, value, hints[name])]


def allowed(annotation: Any) -> str:
    """Return in words what a setting can be: its type, names or range."""
    origin = get_origin(annotation)
    if one_of := OneOf.within(annotation):
        return " | ".join([*filter(None, one_of.also), *one_of.registry.names(), *one_of.registry.forms()])
    if origin is Annotated:
        bounds = [f"{_BOUNDS[type(bound)][0]} {astuple(bound)[0]:g}" for bound in annotation.__metadata__ if type(bound) in _BOUNDS]
        return ", ".join([allowed(annotation.__origin__), *(each for each in bounds if not each.endswith("inf"))])
    if origin is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"list of {allowed(get_args(annotation)[0])}"
    if origin is types.UnionType or str(origin) == "typing.Union":
        return " | ".join(allowed(each) for each in get_args(annotation))
    return getattr(annotation, "__name__", str(annotation))


def _out_of_range(name: str, value: object, annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Annotated and isinstance(value, int | float):
        bounds = [bound for bound in annotation.__metadata__ if type(bound) in _BOUNDS]
        if not all(_BOUNDS[type(bound)][1](value, *astuple(bound)) for bound in bounds):  # NaN fails every comparison
            yield f"{name}={value}: allowed is {allowed(annotation)}"
    elif get_origin(annotation) is Literal and value not in get_args(annotation):
        yield unknown_name(name, str(value), map(str, get_args(annotation)))


def _can_be_written(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return OneOf.within(annotation) is not None or _can_be_written(annotation.__origin__)
    if origin is Literal:
        return True
    if origin is not None:
        return all(_can_be_written(each) for each in get_args(annotation) if each is not Ellipsis)
    return annotation in _PLAIN or is_dataclass(annotation)


def _described(entry: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Yield names and descriptions: a docstring's `Args:`, of a class its bases' too; a dataclass's field docstrings."""
    if is_dataclass(entry):
        for base in reversed(entry.__mro__ if isinstance(entry, type) else ()):
            yield from (field_descriptions(base) if is_dataclass(base) else {}).items()
        return
    for owner in reversed(entry.__mro__) if isinstance(entry, type) else (entry,):
        documentation = inspect.cleandoc(owner.__doc__ or "")
        (block,) = re.findall(r"^Args:\n((?:[ ].*\n?|\n)+)", documentation, flags=re.MULTILINE) or ("",)
        for names, text in re.findall(r"^    ([\w, ]+): ((?:.+\n?)(?:^ {8}.*\n?)*)", block, flags=re.MULTILINE):
            for name in names.split(", "):
                yield name, " ".join(text.split())


@cache  # reading the source is slow
def field_descriptions(section: type) -> Mapping[str, str]:
    """Return the docstrings below the fields of a dataclass."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    found = {}
    for field, below in pairwise(getattr(definition, "body", [])):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found
