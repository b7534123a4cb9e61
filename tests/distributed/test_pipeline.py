"""Many workers do what one process does, to the bit where nothing is averaged."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.distributed.networks import (
    CLASSES,
    Settings,
    adam,
    alone,
    assert_same,
    batches,
    crossing_cascade,
    cut,
    extractor_cascade,
    pipelined,
    train_in_worker,
    trained,
    union,
    weights,
    weights_of,
)
from tests.distributed.workers import error_of, in_workers
from torch import Tensor, nn

from torchsid.core.cascade import Cascade
from torchsid.core.shared import SharedCascade, Stage
from torchsid.core.staged import StagedCascade
from torchsid.distributed.replicas import shares
from torchsid.distributed.world import World, join

LAST_EPOCH = {"teachers": "last-epoch"}
ANOTHER_OBJECTIVE = {"alpha": "linear:1.0:0.2", "temperature": 2.0}


class Transposing(nn.Module):
    """Tokens of another memory layout than their shape says cross the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.act = nn.Conv2d(3, 33, 1), nn.GELU()
        self.mix, self.out = nn.Linear(33, 65), nn.Linear(65, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(self.patches(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.out(self.mix(tokens).relu().mean(1))
        return logits


def bright(x: Tensor) -> Tensor:
    return x[:, 0].flatten(1) > -0.5


def transposing() -> StagedCascade:
    """Some tokens count, which the heads of later workers are told."""
    torch.manual_seed(0)
    return cut(Transposing(), ["act", "mix"], mask=bright)


def wide(features: int = 1024) -> StagedCascade:
    torch.manual_seed(0)
    return cut(nn.Sequential(nn.Flatten(), nn.Linear(12, features), nn.ReLU(), nn.Linear(features, CLASSES)), 2)


def slots() -> StagedCascade:
    """Two answers a sample."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 2 * CLASSES), nn.Unflatten(1, (2, CLASSES))
    return cut(nn.Sequential(*layers), 2, positions=(2,))


DOUBLE = {"build": partial(crossing_cascade, dtype=torch.float64), "data": partial(batches, (64, 64), torch.float64)}
SLOTS = partial(batches, positions=(2,))


@pytest.mark.parametrize(
    ("size", "method", "settings"),
    [
        (1, {}, {}),
        (2, {}, {"optimizer": adam}),
        (3, {}, {"queue": 1}),
        (4, {}, {"optimizer": adam, "queue": 3}),
        (4, {}, {**DOUBLE, "batch_size": 64}),
        (3, {}, {"autocast": True}),
        (3, {}, {"build": transposing}),
        (2, {}, {"build": slots, "data": SLOTS}),
        (3, {**ANOTHER_OBJECTIVE, "direction": "reverse", "label_smoothing": 0.1}, {}),
        (3, ANOTHER_OBJECTIVE, {"new_alpha": 0.9}),
        (2, {"alpha": "cosine:1.0:0.2", "alpha_over": "epochs"}, {}),
        (2, {}, {"build": extractor_cascade}),
        (3, {}, {"build": partial(extractor_cascade, positions=(2,)), "data": SLOTS}),
        (4, {"combine": "mean", **ANOTHER_OBJECTIVE}, {"build": extractor_cascade}),
        (3, ANOTHER_OBJECTIVE, {"build": extractor_cascade, "new_alpha": 0.9}),
        (2, LAST_EPOCH, {"build": extractor_cascade}),
        (4, LAST_EPOCH, {"build": extractor_cascade}),
    ],
)
def test_workers_are_one_process_to_the_bit(size: int, method: Settings, settings: dict[str, Any]) -> None:
    workers = in_workers(partial(train_in_worker, method=method, **settings), size)
    build, data = settings.get("build", crossing_cascade), settings.get("data", batches)()
    one = alone(build(), *(settings[name] for name in ("optimizer",) if name in settings), method=method)
    in_step = {name: settings[name] for name in ("autocast", "new_alpha") if name in settings}
    assert_same(workers, trained(one, data, **in_step))
    assert [stage for worker in workers for stage in worker["stages"]] == list(range(one.module.depth))
    if isinstance(one.module, StagedCascade):
        assert [worker["sent"] > 0 for worker in workers] == [*(size - 1) * [True], False]


def test_the_stages_are_shared_out_by_their_cost() -> None:
    first, last = in_workers(partial(train_in_worker, seconds=(1, 1, 1, 9)))
    assert (first["stages"], last["stages"]) == ([0, 1, 2], [3])


@given(st.integers(0, 9), st.lists(st.floats(0, 5), min_size=1, max_size=30), st.integers(1, 7))
def test_parts_cover_the_rows_and_their_shares_are_of_what_counts(first: int, counts: list[float], number: int) -> None:
    rows, weight = slice(first, first + len(counts)), torch.tensor(first * [9.0] + counts, dtype=torch.float64)
    for counted_by, whole in ((None, float(len(counts))), (weight, sum(counts))):
        parts = shares(rows, number, counted_by)
        assert len(parts) == number
        assert [row for part, _ in parts for row in range(part.start, part.stop)] == list(range(rows.start, rows.stop))
        for part, share in parts:
            counted = float(part.stop - part.start) if counted_by is None else float(weight[part].sum())
            assert share == pytest.approx(counted / whole if whole else 0.0)


def test_a_rounding_wire_halves_the_traffic_and_changes_little() -> None:
    exact, rounded = (in_workers(partial(train_in_worker, build=wide, wire=wire)) for wire in ("float32", "bfloat16"))
    assert 0.45 < rounded[0]["sent"] / exact[0]["sent"] < 0.6
    assert not torch.equal(rounded[-1]["losses"], exact[-1]["losses"])
    torch.testing.assert_close(rounded[-1]["losses"], exact[-1]["losses"], rtol=0.02, atol=0.02)
    assert torch.equal(rounded[-1]["losses"][0, :1], exact[-1]["losses"][0, :1])  # of the stage before the wire


@pytest.mark.parametrize(("size", "dtype"), [(2, torch.float64), (4, torch.float32), (3, torch.float64)])
def test_replicas_are_one_process_up_to_rounding(size: int, dtype: torch.dtype) -> None:
    replicas = 3 if size == 3 else 2
    build, data = partial(crossing_cascade, quiet=True, dtype=dtype), partial(batches, (8, 7, 5, 1), dtype)
    workers = in_workers(partial(train_in_worker, build=build, data=data, replicas=replicas), size)
    one = trained(alone(build()), data())
    exact = 1e-12 if dtype == torch.float64 else 2e-6
    for worker in workers[-replicas:]:
        for name in ("losses", "beliefs", "evaluated"):
            torch.testing.assert_close(worker[name], one[name], rtol=0, atol=exact)
    for replica in range(replicas):
        whole = union(workers[replica::replicas])
        assert whole.keys() == weights(one).keys()
        for name, value in weights(one).items():
            torch.testing.assert_close(whole[name], value, rtol=0, atol=exact)
            assert torch.equal(whole[name], union(workers[::replicas])[name])  # replicas never drift apart


def drop_in_worker(rank: int) -> dict[str, Any]:
    with join(replicas=2, timeout=60) as world:
        learner = pipelined(crossing_cascade(), world)
        dropped: list[Tensor] = []
        learner.module.model.dropout.register_forward_hook(lambda module, args, out: dropped.append(out / args[0]))
        x = torch.randn(4, 3, 2, 2)
        result = trained(learner, [(torch.cat([x, x]), torch.zeros(8, dtype=torch.long))])
        return {**result, "dropped": dropped[0].isfinite() & (dropped[0] > 0)}


def test_replicas_draw_different_random_numbers_and_share_the_statistics_of_the_first() -> None:
    first, second = in_workers(drop_in_worker)
    assert not torch.equal(first["dropped"], second["dropped"])
    assert torch.equal(first["evaluated"], second["evaluated"])
    assert torch.equal(first["weights.model.norm.running_mean"], second["weights.model.norm.running_mean"])


def weigh_in_worker(rank: int, build: Callable[[], Cascade], scale: Tensor) -> dict[str, Any]:
    with join(timeout=60) as world:
        learner = pipelined(build(), world)
        learner.module.train()
        torch.manual_seed(5)
        learner.step(*batches()[0], scale=scale)
        learner.flush()
        world.gather(None)
        return weights_of(learner)


@pytest.mark.parametrize(("build", "scale"), [(crossing_cascade, [1.0, 0.0, 2.0, 0.5]), (extractor_cascade, [1, 0.0, 2, 0.5, 1])])
def test_stages_can_be_weighed_one_by_one(build: Callable[[], Cascade], scale: list[float]) -> None:
    one = alone(build())
    one.module.train()
    torch.manual_seed(5)
    one.step(*batches()[0], scale=torch.tensor(scale))
    whole = union(in_workers(partial(weigh_in_worker, build=build, scale=torch.tensor(scale)), 3))
    assert [name for name, value in weights_of(one).items() if not torch.equal(whole[name], value)] == []


def request_in_worker(rank: int, replicas: int, build: Callable[[], Cascade]) -> list[int]:
    with join(replicas=replicas, timeout=60) as world:
        learner, read = pipelined(build(), world), []
        for number, (x, target) in enumerate(batches(), 1):
            if world.is_first:
                learner.request = 10 * number + world.replica
            learner.step(x, target)
            read.append(learner.request)
        learner.flush()
        world.gather(None)
        return read


@pytest.mark.parametrize(("size", "replicas", "build"), [(3, 1, extractor_cascade), (4, 2, crossing_cascade)])
def test_a_request_travels_with_its_batch(size: int, replicas: int, build: Callable[[], Cascade]) -> None:
    assert in_workers(partial(request_in_worker, replicas=replicas, build=build), size) == size * [[10, 20, 30, 40]]


def hold_in_worker(rank: int) -> dict[str, Any]:
    with join(timeout=60) as world:
        cascade = crossing_cascade()
        learner = pipelined(cascade, world)
        own = {name for stage in learner.assignment[rank] for name in crossing_cascade().owned[stage]}
        world.gather(None)
        return {
            "own": sorted(f"model.{name}" for name in own),
            "held": sorted(name for name, _ in cascade.model.named_parameters(prefix="model")),
            "optimised": sum(len(group["params"]) for group in learner.optimizer.param_groups),
            "weights": len(list(cascade.parameters())),
        }


def test_a_worker_holds_its_own_stages_alone() -> None:
    workers = in_workers(hold_in_worker, 4)
    for worker in workers:
        assert worker["held"] == worker["own"] != []
        assert worker["optimised"] == worker["weights"]


class Parted(nn.Module):
    """A tuple crosses the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.flatten(1).chunk(2, dim=1)
        logits: Tensor = self.c(self.b(self.a(x.flatten(1)).relu()) + parts[0].repeat(1, 2))
        return logits


class Widening(Stage):
    def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * features, self.head(features, log_belief)


def refuse_in_worker(rank: int) -> list[str]:
    def told(cascade: Cascade, world: World, **settings: Any) -> str:
        return error_of(lambda: pipelined(cascade, world, **settings))

    with join(timeout=60) as world:
        shared = extractor_cascade()
        stages = [Widening(stage.head) for stage in shared.stages]
        errors = [
            told(cut(Parted(), 2, by="boundary"), world),
            told(cut(Parted(), ["a"]), world),
            told(crossing_cascade(), world, queue=0),
            told(crossing_cascade(), world, staleness=1, method={"window": 2}),
            told(extractor_cascade(), world, micro_batches=2, method={"combine": "pcgrad"}),
            told(SharedCascade(shared.extractor, stages, CLASSES), world),
            error_of(lambda: pipelined(crossing_cascade(), world).backward(*batches()[0])),
        ]
        world.gather(None)
        return errors


def test_what_cannot_be_spread_is_refused_on_every_worker() -> None:
    for told in in_workers(refuse_in_worker):
        for error, kind, words in zip(
            told,
            ("CutError", "CutError", "ValueError", "ConfigError", "ConfigError", "ScheduleError", "ScheduleError"),
            (
                *("by='graph'", "a tuple crosses the cut after stage 1", "queue=0"),
                *(
                    "2 problems|distributed.staleness = 1|learner.window = 2",
                    "distributed.micro_batches = 2|learner.combine = 'pcgrad'",
                ),
                *("stage 1 hands on features of its own", "call step"),
            ),
            strict=True,
        ):
            assert error.startswith(f"{kind}: ")
            assert all(word in error for word in words.split("|"))


@pytest.mark.parametrize("parts", [2, 6])
def test_micro_batches_are_gathered_gradients(parts: int) -> None:
    """Without BatchNorm the parts do not show."""
    build = partial(crossing_cascade, quiet=True)
    workers, one = in_workers(partial(train_in_worker, build=build, micro_batches=parts)), trained(alone(build()), batches())
    torch.testing.assert_close(workers[-1]["losses"], one["losses"])
    torch.testing.assert_close(union(workers), weights(one))


@pytest.mark.parametrize(("size", "staleness"), [(2, 1), (3, 2)])
def test_staleness_is_a_delay_of_the_gradient(size: int, staleness: int) -> None:
    """Weights that are k updates old compute z; the gradient is theirs, and is applied to the newest."""
    ahead = in_workers(partial(train_in_worker, build=extractor_cascade, staleness=staleness), size)
    network = extractor_cascade()
    optimizer = torch.optim.SGD(network.extractor.parameters(), lr=0.1, momentum=0.9)
    stages = alone(SharedCascade(nn.Identity(), network.stages, CLASSES))  # type: ignore[arg-type]
    late = []
    network.train()
    for step, (x, target) in enumerate([*batches(), *batches()]):
        torch.manual_seed(100 + step)
        z = network.extractor(x)
        leaf = z.detach().requires_grad_()
        out = stages.schedule(stages.new_step(leaf, target))
        stages.optimizer.step()  # type: ignore[union-attr]
        stages.optimizer.zero_grad()  # type: ignore[union-attr]
        assert torch.equal(out.stage_losses, ahead[-1]["losses"][step]), step
        parameters = list(network.extractor.parameters())
        late.append(torch.autograd.grad(z, parameters, leaf.grad))
        if len(late) > staleness:
            for parameter, gradient in zip(parameters, late.pop(0), strict=True):
                parameter.grad = gradient
            optimizer.step()
