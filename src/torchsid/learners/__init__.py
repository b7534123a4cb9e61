"""Learners: a network together with a training method. `DESCRIPTIONS` names them without importing torch."""

DESCRIPTIONS = {
    "sid": "Synergistic Information Distillation: every stage trains on its own local loss",
    "backprop": "one loss at the end, differentiated through the whole network",
}


def names() -> tuple[str, ...]:
    """Return the names of the learners."""
    return tuple(DESCRIPTIONS)
