"""Jobs of several workers that are killed or interrupted at random steps, and go on with another number of them."""

from pathlib import Path
from random import Random

from tests.distributed.test_jobs import SETTINGS, assert_same_run, launch
from tests.fuzz.case import BrokenPromiseError
from torchsid.training import resolve, train

STEPS = 15
SAVED = "training.checkpoint_every_seconds=1e-9"  # as `launch` sets it where it is told of accidents


def case(random: Random, folder: Path) -> str:
    """Train in one process; then with workers, an accident, and a resume; and compare all that is left."""
    recipe, run = random.choice([*SETTINGS]), folder / "run"
    config = resolve(recipe, [*SETTINGS[recipe], SAVED])
    alone = train(config, folder / "alone")
    workers, step = random.choice([2, 2, 3]), random.randrange(STEPS)
    kind = random.choice(["kill", "kill", "interrupt", "halt"])
    rank = 0 if kind == "halt" else random.randrange(workers)
    restarts = random.choice([0, 1]) if kind == "kill" else 0
    launch(workers, run, recipe=recipe, restarts=restarts, accidents=[(0, rank, step, kind)])
    again = random.choice([1, 2, 3])
    if again == 1:
        train(config, run, resume=True)
    elif failure := launch(again, run, "--resume", f"--set={SAVED}", recipe=recipe):
        what = f"{recipe}, {workers} workers, {kind} of {rank} at step {step}, then {again} workers"
        raise BrokenPromiseError(f"{what}: {failure[-3000:]}")
    assert_same_run(run, alone)
    return f"{recipe}: the same after {kind}"
