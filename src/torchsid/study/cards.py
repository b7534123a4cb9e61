"""Single samples on a page, each with what the stages believed about it."""

from collections.abc import Callable, Sequence

from torch import Tensor

from torchsid.show.page import Card
from torchsid.show.plots.river import river
from torchsid.study.positions import Flat, outcomes

Show = Callable[[Tensor], str]
"""From one sample to HTML."""

KINDS = ("decided at once", "changed its mind", "wrong")
RIVERS = (
    "A river goes from the prior on the left through every stage; a band is as high as the belief in a class. "
    "The true class is green and at the bottom, what is left between the bands went to others."
)


def settled_stage(log_beliefs: Tensor) -> Tensor:
    """Return the first stage from which on every stage gives the final answer, `[P]`, for `[L+1, P, C]`, L ≥ 1."""
    answers = log_beliefs[1:].argmax(-1)
    stands = (answers == answers[-1]).flip(0).cumprod(0).sum(0)
    return len(answers) + 1 - stands


def card(sample: str, log_beliefs: Tensor, names: Sequence[str], outcome: int, title: str, lines: Sequence[str]) -> Card:
    """Return a sample, shown as HTML, with the river of the beliefs `[L+1, C]` about it."""
    return Card(sample, title, [line for line in lines if line], river(log_beliefs.double().exp().numpy(), names, outcome))


def mixed_cards(flat: Flat, inputs: Tensor, show: Show, names: Sequence[str], limit: int) -> list[Card]:
    """Return up to `limit` positions, shared out over those decided at once, those that changed and those answered wrongly.

    Args:
        flat: beliefs and targets of samples.
        inputs: the samples, `[B, ...]`.
        show: from one of them to HTML.
        names: of the classes.
        limit: at most so many.
    """
    truth, answers, settled = outcomes(flat.target), flat.log_beliefs[-1].argmax(-1), settled_stage(flat.log_beliefs)
    kind = (settled > 1).long().where(answers == truth, 2)
    order = sorted(range(len(kind)), key=lambda place: (int((kind[:place] == kind[place]).sum()), int(kind[place])))[:limit]
    cards = []
    for place in sorted(order, key=lambda place: (int(kind[place]), place)):
        lines = [f"answer {names[int(answers[place])]} from stage {int(settled[place])}", f"true {names[int(truth[place])]}"]
        title = KINDS[int(kind[place])]
        sample = show(inputs[int(flat.sample[place])])
        cards.append(card(sample, flat.log_beliefs[:, place], names, int(truth[place]), title, [*lines, where(flat, place)]))
    return cards


def where(flat: Flat, place: int) -> str:
    """Return the position within its sample, if samples have more than one."""
    return f"position {int(flat.position[place])}" if bool((flat.position > 0).any()) else ""
