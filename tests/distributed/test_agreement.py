from tests.distributed.workers import error_of, in_workers

from torchsid.distributed.agreement import check_agreement
from torchsid.distributed.world import join


def differ(rank: int) -> list[str]:
    long = "f" * 100
    with join(timeout=60) as world:
        same = error_of(lambda: check_agreement(world, {"torch": "2.11", "data": "mnist"}))
        facts = {"torch": "2.11", "data": "mnist" if rank == 1 else "digits", "source code": long if rank else "0" + long}
        other = error_of(lambda: check_agreement(world, facts))
        world.gather(None)
        return [same, other]


def test_every_worker_hears_who_differs_in_what() -> None:
    workers = in_workers(differ, 3)
    assert [same for same, _ in workers] == 3 * ["no error"]
    for _, error in workers:
        assert error.startswith("ConfigError: 2 problems")
        assert "differ in data: workers 0, 2: digits; worker 1: mnist;" in error
        assert "differ in source code: worker 0: 0fffffffffffffff…; workers 1, 2: ffffffffffffffff…;" in error
        assert "torch" not in error.partition(":")[2].replace("torchsid", "")
