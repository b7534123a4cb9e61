"""What the theory says of a run, and what it does not: no more than is proven and no less.

arXiv 2510.03273 proves its propositions for D(p, q) = KL(p ‖ q) and targets with full support. For the other direction the
counterparts of Propositions 2 and 4 follow by the same algebra: `L_i(p_{i−1}) = α D(p_{i−1}, p_y)` because `D(p, p) = 0`, so that
`L_i(p_i) ≤ L_i(p_{i−1}) + ε_i` reads

    D(p_i, p_y) ≤ D(p_{i−1}, p_y) − ((1−α)/α) · D(p_i, p_{i−1}) + ε_i / α.
"""

from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.learners.sid import SID

_REVERSE = (
    "The stages minimise D(p, q) = KL(p ‖ q) against a smoothed target, as the theory has it: "
    "Propositions 1, 2 and 4 apply as the paper states them, for KL(p_i ‖ p_y)."
)
_FORWARD = (
    "The stages minimise D(p, q) = KL(q ‖ p). The paper's propositions are about KL(p ‖ q) and say nothing of this run; what is "
    "certified are their counterparts for KL(p_y ‖ p_i), which the same algebra gives, as it needs no more than D(p, p) = 0."
)
_ONE_HOT = "With one-hot targets KL(p_i ‖ p_y), the quantity of the paper, is infinite at every stage."
_SMOOTHED = "That KL(p_y ‖ p_i) falls does not imply that KL(p_i ‖ p_y), the quantity of the paper, falls too."
_IMPLICATION = (
    "Proposition 2 is an implication, sample by sample: where a stage's loss is no larger than that of handing the previous belief "
    "on, the belief has come closer to the label. That the premise holds is nowhere proven, on no data: it is measured here."
)
_HELD_OUT = "On labels that were not trained on nothing enforces the premise, and what is found is an observation."
_BOUND = "Proposition 4's bound is never below the prior's own divergence: it limits harm and promises no improvement."

_END_TO_END = "The stages were trained end to end: none of them minimised the local loss that is measured here."
_WINDOW = "A stage was trained for losses of later stages too, not for its own alone."
_LAST_EPOCH = "The stages learnt from beliefs of the epoch before; here p_{i−1} is what the previous stage believes now."
_TEMPERATURE = "The stages learnt from the previous belief softened or sharpened by a temperature, which is 1 here."
_OVER_EPOCHS = "α is that of the last epoch."
_NO_TARGET = "Where α = 0 a stage's loss does not know the label: there Propositions 2 and 4 say nothing of it."


def scope(objective: LocalObjective) -> tuple[str, ...]:
    """Return which statements apply to stages trained by this objective."""
    if objective.direction == "reverse":
        return (_REVERSE, _IMPLICATION, _HELD_OUT, _BOUND)
    return (_FORWARD, _SMOOTHED if objective.label_smoothing else _ONE_HOT, _IMPLICATION, _HELD_OUT, _BOUND)


def caveats(learner: Learner) -> tuple[str, ...]:
    """Return in what the training differed from what is measured."""
    if not isinstance(learner, SID):
        return (_END_TO_END,)
    found = {
        _WINDOW: learner.window > 1,
        _LAST_EPOCH: learner.remembers_samples,
        _TEMPERATURE: learner.objective.temperature != 1,
        _OVER_EPOCHS: learner.alpha_over == "epochs",
        _NO_TARGET: 0 in learner.objective.alphas(learner.module.depth),
    }
    return tuple(sentence for sentence, holds in found.items() if holds)
