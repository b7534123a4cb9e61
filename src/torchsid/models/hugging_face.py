"""Models of the `transformers` library as trunks, `trunk = "transformers:bert"`, by their kind or by a folder that holds one.

A task of texts takes a classifier of sequences, one that answers at every token a causal model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from inspect import Parameter, Signature
from types import ModuleType
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.core.masks import PADDING
from torchsid.errors import ConfigError, did_you_mean
from torchsid.models.tokens import length_of
from torchsid.settings import path_of

Model = TypeVar("Model", bound=nn.Module)

_DECIDED = {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "use_cache", "is_decoder", "tie_word_embeddings"}


class OfTokens(nn.Module):
    """A model of `transformers` that reads tokens `[B, T]`, int64, as tasks store them, and returns its logits alone.

    Args:
        model: the model.
        padding: its own token for what a text is filled up with; None where a task fills up nothing.
        shift: what a stored token is more than the model's.
    """

    def __init__(self, model: nn.Module, *, padding: int | None, shift: int) -> None:
        super().__init__()
        self.model, self.padding, self.shift = model, padding, shift

    def mask_of(self, tokens: Tensor) -> Tensor | None:
        """Return which tokens count, bool `[B, T]`; None where all do."""
        return None if self.padding is None else tokens != PADDING

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits, `[B, C]` or `[B, T, V]`."""
        mask = self.mask_of(tokens)
        if mask is None or self.padding is None:
            return self.model(input_ids=tokens).logits  # type: ignore[no-any-return]
        tokens = torch.where(mask, tokens - self.shift, self.padding)
        return self.model(input_ids=tokens, attention_mask=mask.long()).logits  # type: ignore[no-any-return]


@cache
def transformers(name: str) -> Callable[..., nn.Module]:
    """Return what makes a trunk of a kind of model, `"bert"`, with the settings of its configuration; or of a local folder.

    Raises:
        ConfigError: there is no such kind, nor such a folder; or the library is not installed.
    """
    library = _library()
    if (path_of(name) / "config.json").is_file():

        def of_folder(example: Tensor, num_classes: int, positions: Positions = ()) -> nn.Module:
            return _of_folder(library, name, example, num_classes, positions)

        return of_folder
    if name not in library.CONFIG_MAPPING:
        near = did_you_mean(name, library.CONFIG_MAPPING.keys())
        problem = f"trunk 'transformers:{name}': no folder with a config.json, and no kind of model that transformers knows{near}"
        raise ConfigError([problem], source="name")
    configuration = library.CONFIG_MAPPING[name]

    def of_kind(example: Tensor, num_classes: int, positions: Positions = (), **settings: Any) -> nn.Module:
        return _of_kind(library, configuration, example, num_classes, positions, settings)

    found = list(_settings(configuration))
    leading = [Parameter(each, Parameter.POSITIONAL_OR_KEYWORD) for each in ("example", "num_classes")]
    leading.append(Parameter("positions", Parameter.POSITIONAL_OR_KEYWORD, default=()))
    of_kind.__signature__ = Signature([*leading, *found])  # type: ignore[attr-defined]
    of_kind.__annotations__ = {each.name: each.annotation for each in found}
    meanings = "".join(f"    {each.name}: Of `{configuration.__name__}`, where 0 may be none.\n" for each in found)
    of_kind.__doc__ = f"Return a model.\n\nArgs:\n{meanings}"
    return of_kind


def untie(model: Model) -> Model:
    """Give the readout a copy of its own of the embedding's weights, where both are one tensor, and return the model.

    Cut into stages, the first would own what the last trains. The model is saved with both from then on.
    """
    parts: Any = model
    embedding, readout = parts.get_input_embeddings(), parts.get_output_embeddings()
    if readout is None or readout.weight is not embedding.weight:
        return model
    for name, source in parts.all_tied_weights_keys.items():  # others as well, which the configuration ties with these
        owner, _, own = name.rpartition(".")
        shared = model.get_parameter(source)
        setattr(model.get_submodule(owner), own, nn.Parameter(shared.detach().clone(), shared.requires_grad))
    parts.all_tied_weights_keys.clear()  # or they would not be saved
    parts.config.get_text_config(decoder=True).tie_word_embeddings = parts.config.tie_word_embeddings = False
    return model


def _settings(configuration: type) -> Iterator[Parameter]:
    """Yield the settings of a configuration that a recipe can hold, and that tokens and classes do not decide."""
    for each in fields(configuration):
        kinds = {each.type} if isinstance(each.type, type) else set(get_args(each.type))
        plain = next((kind for kind in (float, int, str) if kind in kinds), bool if bool in kinds else None)
        default = 0 if each.default is None and plain is int else each.default
        if each.kw_only and each.name not in _DECIDED and plain and default is not None and default is not MISSING:
            yield Parameter(each.name, Parameter.KEYWORD_ONLY, annotation=plain, default=default)


def _of_kind(
    library: ModuleType, configuration: type, example: Tensor, num_classes: int, positions: Positions, settings: dict[str, Any]
) -> nn.Module:
    names = {each.name: each.default for each in fields(configuration)}
    given = {name: value for name, value in settings.items() if value or names[name] is not None}
    everywhere = positions == "tokens"
    padding = None if everywhere else PADDING
    decided = {"vocab_size": num_classes if everywhere else int(example.max()) + 1, "pad_token_id": padding}
    decided |= {"bos_token_id": None, "eos_token_id": None, "is_decoder": everywhere, "tie_word_embeddings": False}
    config = configuration(**given, **{name: value for name, value in decided.items() if name in names})
    model = _auto(library, positions).from_config(_fitted(config, example, num_classes))
    return OfTokens(model, padding=padding, shift=0)


def _of_folder(library: ModuleType, name: str, example: Tensor, num_classes: int, positions: Positions) -> nn.Module:
    folder, everywhere = path_of(name), positions == "tokens"
    config = library.AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    tokens = num_classes if everywhere else int(example.max())
    if text.vocab_size != tokens:
        what = f"{name} has a vocabulary of {text.vocab_size}, but the data are of {tokens}"
        raise ValueError(f"{what}: set data.tokens to the model's own tokenizer, '{folder / 'tokenizer.json'}'")
    if not everywhere and text.pad_token_id is None:
        raise ValueError(f"{name} has no token for padding: set pad_token_id in its config.json to one that no text has")
    config, auto = _fitted(config, example, num_classes), _auto(library, positions)
    if any(folder.glob("*.safetensors")):
        with _quiet(library):  # what a readout of other classes lacks is told, also where a run has its own weights
            options = {"dtype": torch.float32, "use_safetensors": True, "ignore_mismatched_sizes": True}
            model = auto.from_pretrained(folder, config=config, **options)
    else:
        model = auto.from_config(config)
    return OfTokens(untie(model).train(), padding=None if everywhere else text.pad_token_id, shift=1)


def _fitted(config: Any, example: Tensor, num_classes: int) -> Any:
    """Return the configuration with the number of classes, and without keys and values; every token must have a position."""
    length, most = length_of(example), getattr(config, "max_position_embeddings", None)
    if isinstance(most, int) and most < length:
        raise ValueError(f"the model has {most} positions, but samples have {length} tokens: raise the one, or shorten the other")
    config.num_labels, config.use_cache = num_classes, False
    return config


@contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Have the library show no progress and no warnings."""
    told, shown = library.logging.get_verbosity(), library.logging.is_progress_bar_enabled()
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.logging.set_verbosity(told)
        if shown:
            library.logging.enable_progress_bar()


def _auto(library: ModuleType, positions: Positions) -> Any:
    return library.AutoModelForCausalLM if positions == "tokens" else library.AutoModelForSequenceClassification


def _library() -> ModuleType:
    try:
        return import_module("transformers")
    except ImportError:
        raise ConfigError(["trunk = 'transformers:...' needs the package 'transformers': pip install 'torchsid[hf]'"]) from None
