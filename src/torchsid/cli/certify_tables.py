"""A certificate as a table on the screen, with what it says in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchsid.cli.console import Console, abridged

if TYPE_CHECKING:
    from torchsid.study.certify.certificate import Certificate

_NOT_SHOWN = "…"


def show(screen: Console, data: str, certificate: "Certificate", class_names: Sequence[str]) -> None:
    """Print the table of the stages, mean and worst, and the findings."""
    from torchsid.show.certificate.findings import findings
    from torchsid.show.certificate.statements import statement_table

    (_, *columns), rows = statement_table(certificate)
    texts = [["\n".join(filter(None, cell)) for cell in row] for row in rows]
    kept = abridged([str(index) for index in range(len(texts))])
    screen.table(
        [data, *columns],
        [texts[int(index)] if index != _NOT_SHOWN else [_NOT_SHOWN] * (len(columns) + 1) for index in kept],
    )
    for finding in findings(certificate, class_names):
        print(f"- {finding}", flush=True)
