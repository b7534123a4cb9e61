"""Learners: a network together with a training method. `DESCRIPTIONS` names them without importing torch."""

DESCRIPTIONS = {
    "sid": "Synergistic Information Distillation: every stage trains on its own local loss",
    "backprop": "one loss at the end, differentiated through the whole network",
    "deep-supervision": "a loss at every stage of a cascade, differentiated through the whole network (Lee et al. 2015)",
    "soft-bootstrap": "backpropagation on labels mixed with the network's own belief (Reed et al. 2014)",
    "hard-bootstrap": "backpropagation on labels mixed with the network's own answer (Reed et al. 2014)",
    "self-distillation": "backpropagation on labels mixed with predictions of one epoch before (PS-KD, Kim et al. 2021)",
    "gce": "backpropagation on the generalised cross-entropy (Zhang and Sabuncu 2018)",
    "sce": "backpropagation on the symmetric cross-entropy (Wang et al. 2019)",
    "elr": "backpropagation with early-learning regularisation (Liu et al. 2020)",
}

STAGES_ANSWER = frozenset({"sid", "deep-supervision"})
"""The learners that train every stage to answer, so that its belief can be used: to stop early, or to audit labels."""


def names() -> tuple[str, ...]:
    """Return the names of the learners."""
    return tuple(DESCRIPTIONS)
