import torch
from tests.study.experiments.costs.samples import TIMING

from torchsid.study.experiments.costs.shared import BATCHED, CHAIN, PLAIN, REFERENCE, STREAMING, TWO_PHASE, contenders, workload

WORK = workload(TIMING.shared[0], 2)


def test_a_workload_has_the_sizes_of_the_plan() -> None:
    assert (WORK.title, WORK.depth, WORK.hidden) == ("mlp extractor, L = 2", 2, 8)
    assert workload(TIMING.shared[0], 2, 32).new_cascade().stages[0].head.hidden.out_features == 32
    x, target = WORK.batch()
    assert (x.shape, target.shape) == ((8, 3, 4, 4), (8,))


def test_all_begin_alike_and_all_learn() -> None:
    made = {name: new() for name, new in contenders(WORK).items()}
    assert list(made) == [TWO_PHASE, STREAMING, BATCHED, REFERENCE, CHAIN, PLAIN]
    before = {name: [parameter.clone() for parameter in each.module.parameters()] for name, each in made.items()}
    for name in (STREAMING, BATCHED, REFERENCE, CHAIN):
        torch.testing.assert_close(before[name], before[TWO_PHASE])
    for each in made.values():
        each.step()
    after = {name: list(each.module.parameters()) for name, each in made.items()}
    assert all(
        not torch.equal(old, new) for name in made for old, new in zip(before[name], after[name], strict=True) if new.dim() > 1
    )
    for name in (STREAMING, BATCHED, REFERENCE):
        torch.testing.assert_close(after[name], after[TWO_PHASE], rtol=0, atol=5e-4)  # Adam's first step is the sign of a gradient
