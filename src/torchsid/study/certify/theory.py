"""What the theory says of a run, and what it does not, in words that neither claim more than is proven nor less.

arXiv 2510.03273 proves its propositions for D(p, q) = KL(p ‖ q) and targets with full support. For the other direction the
counterparts of Propositions 2 and 4 follow by the same algebra: `L_i(p_{i−1}) = α D(p_{i−1}, p_y)` because `D(p, p) = 0`, so that
`L_i(p_i) ≤ L_i(p_{i−1}) + ε_i` reads

    D(p_i, p_y) ≤ D(p_{i−1}, p_y) − ((1−α)/α) · D(p_i, p_{i−1}) + ε_i / α.
"""

from torchsid.core.objective import LocalObjective

_REVERSE = (
    "The stages minimise D(p, q) = KL(p ‖ q) against a smoothed target, as the theory has it: "
    "Propositions 1, 2 and 4 apply as the paper states them, for KL(p_i ‖ p_y)."
)
_FORWARD = (
    "The stages minimise D(p, q) = KL(q ‖ p). The paper's propositions are about KL(p ‖ q) and say nothing of this run; what is "
    "certified are their counterparts for KL(p_y ‖ p_i), which the same algebra gives, as it needs no more than D(p, p) = 0. "
    "The minimiser is the arithmetic mixture."
)
_ONE_HOT = (
    "With one-hot targets KL(p_i ‖ p_y), the quantity of the paper, is infinite at every stage: nothing can be said about it."
)
_SMOOTHED = "That KL(p_y ‖ p_i) falls does not imply that KL(p_i ‖ p_y), the quantity of the paper, falls too."
_IMPLICATION = (
    "Proposition 2 is an implication, sample by sample: where a stage's loss is no larger than that of handing the previous belief "
    "on, the belief has come closer to the label. That the premise holds is nowhere proven, on no data: it is measured here."
)
_HELD_OUT = (
    "Only labels trained on were in a stage's loss. On held-out and on clean labels the premise has nothing to enforce it, "
    "and what is found is an observation."
)
_BOUND = (
    "Proposition 4's bound is never below the prior's own divergence, since no ε is below 0: "
    "it limits harm and promises no improvement."
)
_EITHER = (_IMPLICATION, _HELD_OUT, _BOUND)


def scope(objective: LocalObjective) -> tuple[str, ...]:
    """Return which statements apply to stages trained by this objective, a sentence or two each."""
    if objective.direction == "reverse":
        return (_REVERSE, *_EITHER)
    return (_FORWARD, _SMOOTHED if objective.label_smoothing else _ONE_HOT, *_EITHER)
