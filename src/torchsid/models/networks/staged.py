"""A classifier cut into stages, each with a belief head."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from torch import Tensor

from torchsid.core.cascade import Positions
from torchsid.core.staged import StagedCascade
from torchsid.cut.assemble import staged_cascade
from torchsid.heads import HEADS
from torchsid.models import CLASSIFIERS, trunk_for
from torchsid.settings import Depth, OneOf, Positive, checked


@checked
def staged(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    trunk: Annotated[Any, OneOf(CLASSIFIERS)],
    depth: Depth = 5,
    cuts: list[str] = [],  # noqa: B006 (never changed)
    balance: Literal["memory", "work", "equal"] = "work",
    by: Literal["boundary", "graph"] = "boundary",
    head: Annotated[Any, OneOf(HEADS, also=("auto",), by_name=True)] = "auto",
    head_settings: Mapping[str, Any] = {},
    stage: Literal["plain", "residual"] = "plain",
    max_head_share: Positive = 0.25,
) -> StagedCascade:
    """Return a staged cascade for inputs like `example`; see `torchsid.staged_cascade`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        trunk: The whole classifier that is cut. A method `mask_of` says which tokens of its inputs count, bool `[B, T]`.
        depth: Number of stages L.
        cuts: Names of the `depth - 1` submodules of the trunk after which to cut; empty lets `balance` choose.
        balance: What the stages share evenly: operations, bytes kept for backward (which costs accuracy), or the pieces that the
            trunk can be cut into.
        by: How the trunk is cut: `boundary` runs any model as it is; `graph` carries skip connections over a cut, and can be
            compiled.
        head: The stages' belief heads; `auto` takes what fits the shape of the features.
        head_settings: of the head, in a configuration `head_width` and the like.
        stage: `residual` adds every head's logits to the previous log-belief.
        max_head_share: Most multiply-adds of a head, as a share of an average stage's.

    Raises:
        ValueError: `cuts` and `depth` contradict each other.
    """
    if cuts and len(cuts) + 1 != depth:
        raise ValueError(f"cuts names {len(cuts)} cuts for depth = {depth}: set depth = {len(cuts) + 1}, or leave cuts out")
    model = trunk_for(trunk, example, num_classes, positions)
    return staged_cascade(
        model,
        num_classes,
        cuts or depth,
        example,
        balance=balance,
        by=by,
        head=head,
        head_settings=head_settings,
        residual=stage == "residual",
        max_head_share=max_head_share,
        positions=positions,
        mask=getattr(model, "mask_of", None),
    )
