"""Workers that are not alike are refused before they train."""

from collections.abc import Mapping

from torchsid.distributed.world import World
from torchsid.errors import ConfigError


def check_agreement(world: World, facts: Mapping[str, str]) -> None:
    """Compare what every worker says of itself.

    Raises:
        ConfigError: on every worker; names each fact in which workers differ, and who says what.
    """
    everyone = world.gather(dict(facts))
    problems = []
    for name in facts:
        said: dict[str, list[int]] = {}
        for rank, each in enumerate(everyone):
            said.setdefault(each[name], []).append(rank)
        if len(said) > 1:
            who = "; ".join(f"{_workers(ranks)}: {_short(value)}" for value, ranks in said.items())
            problems.append(f"the workers differ in {name}: {who}; start all of them with the same")
    if problems:
        raise ConfigError(problems, source="distributed job")


def _workers(ranks: list[int]) -> str:
    return f"worker{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _short(value: str) -> str:
    """Return the beginning of a checksum or a long text."""
    return value if len(value) <= 60 else f"{value[:16]}…"
