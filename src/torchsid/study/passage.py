"""A passage of a text, and what every stage expected in the place of each of its tokens."""

from collections.abc import Callable

from torchsid.show.tables import Cell, Table, table
from torchsid.study.runs import Passage

TITLE = "What each stage expected next"
MEANING = (
    "Held-out text. Below each token every stage has what it thought likeliest there, bold where it was right, and the probability "
    "in per cent that it gave to the true token, which is the shade."
)
_LINE = 84  # letters
_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})


def passage_tables(title: str, passage: Passage, write: Callable[[int], str]) -> list[Table]:
    """Return a passage line by line, the title above the first; `write` has the text of a token."""
    tokens, *guesses = (
        [write(token).translate(_VISIBLE) for token in row] for row in (passage.target.tolist(), *passage.guess[1:].tolist())
    )
    right, shares = (passage.guess == passage.target)[1:].tolist(), passage.log_target[1:].exp().tolist()
    lines: list[list[int]] = []
    room = 0
    for place, column in enumerate(zip(tokens, *guesses, strict=True)):
        width = 1 + max(2, *map(len, column))
        if room < width:
            lines.append([])
            room = _LINE
        lines[-1].append(place)
        room -= width
    tables: list[Table] = []
    for line in lines:
        rows = [
            [Cell(f"stage {stage}"), *(Cell(said[i], f"{100 * given[i]:.0f}", "✓" if hit[i] else "", given[i]) for i in line)]
            for stage, (said, given, hit) in enumerate(zip(guesses, shares, right, strict=True), 1)
        ]
        tables.append(table(["", *(tokens[i] for i in line)], rows, "" if tables else title)._replace(kind="passage"))
    return tables
