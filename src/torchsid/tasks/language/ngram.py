"""What counting knows of a text: interpolated n-grams.

P_n(w | h) = (c(hw) + t(h)·P_{n−1}(w | h')) / (c(h) + t(h));   P_0 = 1/V

`h` are the n−1 tokens before `w` and `h'` all of them but the first; `c` counts in the training tokens, and `t(h)` is how many
different tokens follow `h` there. This is method C of I. Witten and T. Bell (IEEE Transactions on Information Theory 37, 1991),
as S. Chen and J. Goodman write it ("An Empirical Study of Smoothing Techniques for Language Modeling", 1998).
"""

from collections.abc import Mapping

import numpy as np

from torchsid.tasks.vocabulary import Ids

_MOST = 10  # n


def n_gram(train: Ids, held_out: Mapping[str, Ids], size: int) -> tuple[int, dict[str, float]]:
    """Return n, and the mean of −log P_n over all tokens but the first of each part, in nats.

    The order n is the first after which the loss on the first part rises.

    Args:
        train: tokens that are counted.
        held_out: parts by name, each of two tokens or more.
        size: V.
    """
    context, token = np.zeros(len(train), np.int64), train  # contexts are numbered; each is that of the token at its place
    contexts = {name: np.zeros(len(ids), np.int64) for name, ids in held_out.items()}  # −1: never seen in training
    probability = {name: np.full(len(ids), 1 / size) for name, ids in held_out.items()}
    chosen, losses = 0, dict.fromkeys(held_out, np.inf)
    for order in range(1, min(_MOST, len(train)) + 1):
        grams, place, count = np.unique(context * size + token, return_inverse=True, return_counts=True)
        behind = grams // size
        total, different = np.bincount(behind, weights=count), np.bincount(behind)
        for name, ids in held_out.items():
            wanted = contexts[name] * size + ids
            at = np.searchsorted(grams, wanted).clip(max=len(grams) - 1)
            known, seen = contexts[name] >= 0, grams[at] == wanted
            before = np.where(known, contexts[name], 0)
            mixed = np.where(seen, count[at], 0) + different[before] * probability[name]
            probability[name] = np.where(known, mixed / (total[before] + different[before]), probability[name])
            contexts[name] = np.concatenate([[-1], np.where(seen, at, -1)[:-1]])
        found = {name: float(-np.log(each[1:]).mean()) for name, each in probability.items()}
        if next(iter(found.values())) >= next(iter(losses.values())):
            break
        chosen, losses = order, found
        context, token = place[:-1], token[1:]
    return chosen, losses
