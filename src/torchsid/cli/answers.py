"""What a network answers, told to a user: the likeliest classes, or a number with its interval."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torchsid.cli.console import Console, abridged, percent

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.tasks.numbers import Numbers

_TABLES = 12  # samples up to which each has a table of its own


class Answer(NamedTuple):
    """What is believed about one file, text or row."""

    name: str
    stages: Sequence[str]
    beliefs: "Tensor"  # after each of the stages, `[S, C]`
    settled: int  # the stage from which on the answer stands, or at which it was given


class Teller(ABC):
    """Tells answers in lines, or in tables with a column a stage."""

    columns: ClassVar[Sequence[str]]
    """Of the line of an answer."""

    @abstractmethod
    def values(self, answer: Answer) -> Sequence[Any]:
        """Return what stands in the line of an answer, but for its name."""

    @abstractmethod
    def table(self, answer: Answer) -> list[list[str]]:
        """Return the rows of an answer's table, each begins with what it is about."""

    def text(self, value: Any) -> str:
        """Return a value of a line as it is shown."""
        return percent(value, 1) if isinstance(value, float) else str(value)

    def row(self, answer: Answer) -> dict[str, Any]:
        """Return the line of an answer, under the names of the columns."""
        return dict(zip(self.columns, [answer.name, *self.values(answer)], strict=True))

    def show(self, answers: Sequence[Answer], screen: Console) -> None:
        """Print a table an answer, or of many a line each."""
        if len(answers) > _TABLES:
            screen.rows([{name: self.text(value) for name, value in self.row(each).items()} for each in answers])
            return
        for answer in answers:
            rows = [[about, *abridged(cells, "…")] for about, *cells in self.table(answer)]
            screen.table([answer.name, *abridged(answer.stages, "…")], rows)


@dataclass(frozen=True)
class Classes(Teller):
    """Tells the likeliest classes, of which a table has the `top`."""

    names: Sequence[str]
    top: int

    columns = ("name", "answer", "belief", "second", "belief in the second", "from stage")

    def values(self, answer: Answer) -> Sequence[Any]:
        """Return the two likeliest classes with the belief in each, and the stage from which on the answer stands."""
        beliefs, likely = (each.tolist() for each in answer.beliefs[-1].topk(2))
        return [self.names[likely[0]], beliefs[0], self.names[likely[1]], beliefs[1], answer.settled]

    def table(self, answer: Answer) -> list[list[str]]:
        """Return the belief in the likeliest classes, stage by stage."""
        likely = answer.beliefs[-1].topk(min(self.top, len(self.names))).indices.tolist()
        return [[self.names[k], *(percent(p, 1) for p in answer.beliefs[:, k].tolist())] for k in likely]


@dataclass(frozen=True)
class OfNumbers(Teller):
    """Tells the mean of a belief over bins, and its central interval."""

    numbers: "Numbers"

    columns = ("name", "answer", "low", "high")

    def values(self, answer: Answer) -> Sequence[Any]:
        """Return the mean and the ends of the interval of the last belief."""
        return [each.item() for each in self.numbers.said(answer.beliefs[-1].log())]

    def table(self, answer: Answer) -> list[list[str]]:
        """Return them stage by stage."""
        rows = zip(("answer", "low", "high"), self.numbers.said(answer.beliefs.log()), strict=True)
        return [[name, *map(self.text, values.tolist())] for name, values in rows]

    def text(self, value: Any) -> str:
        """Return a number in four digits."""
        return f"{value:.4g}" if isinstance(value, float) else str(value)
