"""The statements of the theory on one set of labelled images: a table, findings and figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torchsid.show.certificate.findings import findings
from torchsid.show.certificate.part import Part
from torchsid.show.figures.lines import StageLine, lines_by_stage
from torchsid.show.svg import Drawing
from torchsid.show.wording import Cell, Table, number, percent
from torchsid.study.certify.certificate import Certificate, StageCertificate, Summary

_COLUMNS = ("premise", "KL falls", "KL", "ε", "to minimiser", "bound", "slack", "gap left", "ideal")


@dataclass(frozen=True)
class Statement:
    """A certificate, to be shown."""

    name: str
    sentences: tuple[str, ...]
    table: Table
    figures: dict[str, Drawing]
    keyed: bool = False

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The figures."""
        return tuple(self.figures.values())


def statements(part: Part, class_names: Sequence[str]) -> Iterator[Statement]:
    """Yield a statement for each set of labels of a split, that against the true ones first."""
    for labels, certificate in list(part.certificates.items())[::-1]:
        sentences = (f"{finding[0].upper()}{finding[1:]}." for finding in findings(certificate, class_names))
        yield Statement(
            heading(part.split, labels, certificate),
            tuple(sentences),
            statement_table(certificate),
            {
                f"{name}-{part.split}-{labels}": draw(certificate)
                for name, draw in (("premise", premise_and_descent), ("bound", kl_and_bound), ("residual", gap_left))
            },
        )


def heading(split: str, labels: str, certificate: Certificate) -> str:
    """Return what a certificate is about: `test, held-out labels, n = 360`."""
    return f"{split}, {labels} labels, n = {certificate.n:,}"


def statement_table(certificate: Certificate) -> Table:
    """Return one row a stage; the detail of a cell is the worst of the images."""
    return Table(("stage", *_COLUMNS), tuple(map(_row, certificate.stages)))


def premise_and_descent(certificate: Certificate) -> Drawing:
    """Draw for which share of the images the premise of Proposition 2 holds and KL falls."""
    premise = [100 * stage.premise for stage in certificate.stages]
    descent = [100 * stage.descent for stage in certificate.stages]
    title = f"KL falls for {_range(descent)} of the images at a stage, the premise holds for {_range(premise)}"
    return lines_by_stage(title, [StageLine("premise holds", premise), StageLine("KL falls", descent)], unit="%")


def kl_and_bound(certificate: Certificate) -> Drawing:
    """Draw the mean divergence to the target and Proposition 4's bound on it, from the prior on."""
    stages, prior = certificate.stages, certificate.prior_kl.mean
    kl, bound = [prior, *(stage.kl.mean for stage in stages)], [prior, *(stage.bound.mean for stage in stages)]
    title = f"Mean KL to the label ends at {number(kl[-1])} nats, the bound at {number(bound[-1])}"
    lines = [StageLine("mean KL", kl, 0), StageLine("bound of Proposition 4", bound, 0)]
    return lines_by_stage(title, lines, unit="nats", bottom=0)


def gap_left(certificate: Certificate) -> Drawing:
    """Draw what is left of the prior's gap to the target, and what ideal stages would leave."""
    stages = certificate.stages
    left, ideal = [100 * stage.residual.mean for stage in stages], [100 * stage.ideal_residual for stage in stages]
    title = f"{left[-1]:.1f}\u00a0% of the gap to the label is left; ideal stages leave {ideal[-1]:.1f}\u00a0%"
    lines = [StageLine("gap left", [100, *left], 0), StageLine("ideal stages", [100, *ideal], 0)]
    return lines_by_stage(title, lines, unit="%", bottom=0)


def _row(stage: StageCertificate) -> tuple[Cell, ...]:
    def both(summary: Summary) -> Cell:
        return Cell(number(summary.mean), number(summary.worst))

    return (
        Cell(f"stage {stage.stage}, α = {stage.alpha:g}"),
        Cell(percent(stage.premise)),
        Cell(percent(stage.descent)),
        *map(both, (stage.kl, stage.epsilon, stage.distance, stage.bound, stage.slack)),
        Cell(percent(stage.residual.mean), percent(stage.residual.worst)),
        Cell(percent(stage.ideal_residual)),
    )


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    return f"{low}\u00a0%" if low == high else f"{low}–{high}\u00a0%"
