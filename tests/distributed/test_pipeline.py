"""Many workers do what one process does, to the bit where nothing is averaged."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.distributed.networks import (
    CLASSES,
    MakeOptimizer,
    adam,
    alone,
    batches,
    crossing_cascade,
    pipelined,
    sgd,
    trained,
)
from tests.distributed.workers import error_of, in_workers
from torch import Tensor, nn

from torchsid import staged_cascade
from torchsid.core.staged import StagedCascade
from torchsid.distributed.world import World, join

Results = list[dict[str, Any]]


def train_in_worker(
    rank: int,
    build: Callable[[], StagedCascade] = crossing_cascade,
    optimizer: MakeOptimizer = sgd,
    data: Callable[[], Any] = batches,
    replicas: int = 1,
    autocast: bool = False,
    new_alpha: float | None = None,
    **settings: object,
) -> dict[str, Any]:
    with join(replicas=replicas, timeout=60) as world:
        learner = pipelined(build(), world, optimizer, **settings)
        result = trained(learner, data(), autocast=autocast, new_alpha=new_alpha)
        learner.flush()
        world.gather(None)
        stages = learner.assignment[world.position]
        return {**result, "stages": [stages.start, stages.stop], "sent": learner.sent_bytes}


def weights(result: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in result.items() if name.startswith("weights.")}


def union(workers: Results) -> dict[str, Tensor]:
    """The weights of all workers, which have nothing but the prior in common."""
    whole: dict[str, Tensor] = {}
    for worker in workers:
        own = weights(worker)
        assert whole.keys() & own.keys() <= {"weights.log_prior"}
        assert own.keys() > {"weights.log_prior"}
        whole |= own
    return whole


def assert_same(workers: Results, one: dict[str, Any]) -> None:
    """The last worker's numbers and everyone's weights are those of one process, bit by bit."""
    for name in ("losses", "beliefs", "evaluated"):
        assert torch.equal(workers[-1][name], one[name]), name
    whole, expected = union(workers), weights(one)
    assert whole.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(whole[name], value)] == []


@pytest.mark.parametrize(("size", "optimizer"), [(1, sgd), (2, adam), (3, sgd), (3, adam), (4, adam)])
def test_workers_are_one_process_to_the_bit(size: int, optimizer: MakeOptimizer) -> None:
    workers = in_workers(partial(train_in_worker, optimizer=optimizer), size)
    assert_same(workers, trained(alone(crossing_cascade(), optimizer), batches()))
    stages = [stage for worker in workers for stage in range(*worker["stages"])]
    assert stages == [0, 1, 2, 3]
    assert workers[-1]["sent"] == 0
    assert all(worker["sent"] > 0 for worker in workers[:-1])


@pytest.mark.parametrize("seconds", [(1, 1, 1, 9), (9, 1, 1, 1)])
def test_the_stages_are_shared_out_by_their_cost(seconds: tuple[int, ...]) -> None:
    workers = in_workers(partial(train_in_worker, seconds=seconds))
    assert workers[0]["stages"] == ([0, 3] if seconds[-1] == 9 else [0, 1])
    assert_same(workers, trained(alone(crossing_cascade()), batches()))


@pytest.mark.parametrize("queue", [1, 3])
def test_the_length_of_the_queue_changes_nothing(queue: int) -> None:
    assert_same(in_workers(partial(train_in_worker, queue=queue), 3), trained(alone(crossing_cascade()), batches()))


def test_the_settings_of_the_objective_reach_every_stage() -> None:
    settings = {"alpha": "linear:1.0:0.2", "direction": "reverse", "label_smoothing": 0.1, "temperature": 2.0}
    workers = in_workers(partial(train_in_worker, **settings), 3)
    assert_same(workers, trained(alone(crossing_cascade(), **settings), batches()))


def test_another_objective_between_two_steps_reaches_every_stage() -> None:
    settings = {"alpha": "linear:1.0:0.2", "temperature": 2.0}
    workers = in_workers(partial(train_in_worker, new_alpha=0.9, **settings), 3)
    changed = trained(alone(crossing_cascade(), **settings), batches(), new_alpha=0.9)
    assert_same(workers, changed)
    assert not torch.equal(changed["losses"], trained(alone(crossing_cascade(), **settings), batches())["losses"])


def test_autocast_is_one_process_to_the_bit() -> None:
    workers = in_workers(partial(train_in_worker, autocast=True), 3)
    assert_same(workers, trained(alone(crossing_cascade()), batches(), autocast=True))


def test_double_precision_is_one_process_to_the_bit() -> None:
    build, data = partial(crossing_cascade, dtype=torch.float64), partial(batches, (64, 64), torch.float64)
    workers = in_workers(partial(train_in_worker, build=build, data=data, batch_size=64), 4)
    assert_same(workers, trained(alone(build()), data()))


def test_a_rounding_wire_halves_the_traffic_and_changes_little() -> None:
    exact, rounded = (in_workers(partial(train_in_worker, build=wide, wire=wire)) for wire in ("float32", "bfloat16"))
    assert 0.45 < rounded[0]["sent"] / exact[0]["sent"] < 0.6
    assert not torch.equal(rounded[-1]["losses"], exact[-1]["losses"])
    torch.testing.assert_close(rounded[-1]["losses"], exact[-1]["losses"], rtol=0.02, atol=0.02)
    assert torch.equal(rounded[-1]["losses"][0, :1], exact[-1]["losses"][0, :1])  # of the stage before the wire


def wide() -> StagedCascade:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 512), nn.ReLU(), nn.Linear(512, CLASSES))
    return staged_cascade(layers, CLASSES, 2, torch.randn(2, 3, 2, 2), by="graph", head="linear", max_head_share=9.0)


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


def transposing() -> StagedCascade:
    torch.manual_seed(0)
    return staged_cascade(Transposing(), CLASSES, ["act"], torch.randn(2, 3, 2, 2), by="graph", head="linear", max_head_share=9.0)


def layout_in_worker(rank: int) -> list[int]:
    with join(timeout=60) as world:
        learner = pipelined(transposing(), world)
        read: list[int] = []
        learner.module.model.mix.register_forward_pre_hook(lambda module, args: read.extend(args[0].stride()))
        trained(learner, batches()[:1])
        learner.flush()
        world.gather(None)
        return read[:3]


def test_the_memory_layout_travels_along() -> None:
    assert in_workers(layout_in_worker) == [[], [4 * 33, 1, 4]]
    assert_same(in_workers(partial(train_in_worker, build=transposing)), trained(alone(transposing()), batches()))


@pytest.mark.parametrize(("size", "dtype"), [(2, torch.float64), (4, torch.float64), (4, torch.float32), (3, torch.float64)])
def test_replicas_are_one_process_up_to_rounding(size: int, dtype: torch.dtype) -> None:
    replicas = 3 if size == 3 else 2
    build, data = partial(crossing_cascade, quiet=True, dtype=dtype), partial(batches, (8, 7, 5, 1), dtype)
    workers = in_workers(partial(train_in_worker, build=build, data=data, replicas=replicas), size)
    one = trained(alone(build()), data())
    exact = 1e-12 if dtype == torch.float64 else 1e-6
    for worker in workers[-replicas:]:
        for name in ("losses", "beliefs", "evaluated"):
            torch.testing.assert_close(worker[name], one[name], rtol=0, atol=exact)
    for replica in range(replicas):
        whole = union(workers[replica::replicas])
        assert whole.keys() == weights(one).keys()
        for name, value in weights(one).items():
            torch.testing.assert_close(whole[name], value, rtol=0, atol=exact)
            assert torch.equal(whole[name], union(workers[::replicas])[name])  # replicas never drift apart


def test_replicas_draw_different_random_numbers_and_share_the_statistics_of_the_first() -> None:
    workers = in_workers(partial(train_in_worker, replicas=2), 2)
    evaluated = [worker["evaluated"] for worker in workers]
    assert torch.equal(*evaluated)
    own = [worker["weights.model.norm.running_mean"] for worker in workers]
    assert torch.equal(*own)


def dropout_in_worker(rank: int) -> dict[str, Any]:
    with join(replicas=2, timeout=60) as world:
        learner = pipelined(crossing_cascade(), world)
        dropped: list[Tensor] = []
        learner.module.model.dropout.register_forward_hook(lambda module, args, out: dropped.append(out / args[0]))
        x = torch.randn(4, 3, 2, 2)
        trained(learner, [(torch.cat([x, x]), torch.zeros(8, dtype=torch.long))])
        return {"dropped": dropped[0].isfinite() & (dropped[0] > 0)}


def test_replicas_drop_different_units() -> None:
    first, second = in_workers(dropout_in_worker)
    assert not torch.equal(first["dropped"], second["dropped"])


def weighted_in_worker(rank: int) -> dict[str, Any]:
    with join(timeout=60) as world:
        learner = pipelined(crossing_cascade(), world)
        learner.module.train()
        torch.manual_seed(5)
        learner.step(*batches()[0], scale=torch.tensor([1.0, 0.0, 2.0, 0.5]))
        learner.flush()
        world.gather(None)
        return {f"weights.{name}": value for name, value in learner.module.state_dict().items()}


def test_stages_can_be_weighed_one_by_one() -> None:
    one = alone(crossing_cascade())
    one.module.train()
    torch.manual_seed(5)
    one.step(*batches()[0], scale=torch.tensor([1.0, 0.0, 2.0, 0.5]))
    whole = union(in_workers(weighted_in_worker, 3))
    assert [name for name, value in one.module.state_dict().items() if not torch.equal(whole[f"weights.{name}"], value)] == []


def requests_in_worker(rank: int, replicas: int) -> list[int]:
    with join(replicas=replicas, timeout=60) as world:
        learner, read = pipelined(crossing_cascade(), world), []
        for number, (x, target) in enumerate(batches(), 1):
            if world.is_first:
                learner.request = 10 * number + world.replica
            learner.step(x, target)
            read.append(learner.request)
        learner.flush()
        world.gather(None)
        return read


@pytest.mark.parametrize(("size", "replicas"), [(3, 1), (4, 2)])
def test_a_request_travels_with_its_batch(size: int, replicas: int) -> None:
    assert in_workers(partial(requests_in_worker, replicas=replicas), size) == size * [[10, 20, 30, 40]]


def left_in_worker(rank: int) -> dict[str, Any]:
    with join(timeout=60) as world:
        cascade = crossing_cascade()
        before = sum(parameter.numel() for parameter in cascade.parameters())
        learner = pipelined(cascade, world)
        own = {name for stage in learner.assignment[rank] for name in crossing_cascade().owned[stage]}
        world.gather(None)
        return {
            "own": sorted(f"model.{name}" for name in own),
            "held": sorted(name for name, _ in cascade.model.named_parameters(prefix="model")),
            "share": sum(parameter.numel() for parameter in cascade.parameters()) / before,
            "optimised": sum(len(group["params"]) for group in learner.optimizer.param_groups),
            "weights": len(list(cascade.parameters())),
        }


def test_a_worker_holds_its_own_stages_alone() -> None:
    workers = in_workers(left_in_worker, 4)
    for worker in workers:
        assert worker["held"] == worker["own"] != []
        assert worker["optimised"] == worker["weights"]
    assert sum(worker["share"] for worker in workers) == pytest.approx(1)


class Parted(nn.Module):
    """A tuple crosses the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.flatten(1).chunk(2, dim=1)
        logits: Tensor = self.c(self.b(self.a(x.flatten(1)).relu()) + parts[0].repeat(1, 2))
        return logits


def refusals(rank: int) -> list[str]:
    def by_boundary(world: World) -> None:
        example = torch.randn(2, 3, 2, 2)
        pipelined(staged_cascade(Parted(), CLASSES, 2, example, head="linear", max_head_share=9.0), world)

    def parted(world: World) -> None:
        example = torch.randn(2, 3, 2, 2)
        cascade = staged_cascade(Parted(), CLASSES, ["a"], example, by="graph", head="linear", max_head_share=9.0)
        pipelined(cascade, world)

    with join(timeout=60) as world:
        errors = [
            error_of(lambda: pipelined(wide(), world)),
            error_of(lambda: by_boundary(world)),
            error_of(lambda: parted(world)) if world.size == 2 else "",
            error_of(lambda: pipelined(crossing_cascade(), world, queue=0)),
            error_of(lambda: pipelined(crossing_cascade(), world).backward(*batches()[0])),
        ]
        world.gather(None)
        return errors


def test_what_cannot_be_spread_is_refused_on_every_worker() -> None:
    for _, boundary, parted, queue, backward in in_workers(refusals, 2):
        assert boundary.startswith("CutError: ")
        assert "by='graph'" in boundary
        assert parted.startswith("CutError: a tuple crosses the cut after stage 1")
        assert queue.startswith("ScheduleError: queue=0")
        assert backward.startswith("ScheduleError: a pipeline updates")


def test_more_workers_than_stages_are_refused_on_every_worker() -> None:
    for too_many, *_ in in_workers(refusals, 3):
        assert too_many.startswith("ConfigError: ")
        assert "3 workers for 2 stages" in too_many


def accumulated(parts: int) -> dict[str, Any]:
    """What one process makes of gradients gathered over parts of every batch."""
    torch.set_num_threads(1)
    learner = alone(crossing_cascade(quiet=True))
    learner.module.train()
    losses = []
    for x, target in batches():
        bounds = [len(x) * part // parts for part in range(parts + 1)]
        learner.optimizer.zero_grad()
        outs = [
            (stop - start, learner.backward(x[start:stop], target[start:stop], scale=(stop - start) / len(x)))
            for start, stop in pairwise(bounds)
            if stop > start
        ]
        learner.optimizer.step()
        losses.append(sum(count * out.stage_losses for count, out in outs) / len(x))
    return {"losses": torch.stack(losses), **{f"weights.{name}": value for name, value in learner.module.state_dict().items()}}


@pytest.mark.parametrize("parts", [2, 6])
def test_micro_batches_are_gathered_gradients(parts: int) -> None:
    build = partial(crossing_cascade, quiet=True)
    workers, one = in_workers(partial(train_in_worker, build=build, micro_batches=parts)), accumulated(parts)
    torch.testing.assert_close(workers[-1]["losses"], one["losses"])
    torch.testing.assert_close(union(workers), weights(one))
    whole = in_workers(partial(train_in_worker, build=build))
    torch.testing.assert_close(whole[-1]["losses"], one["losses"])  # without BatchNorm the parts do not show
