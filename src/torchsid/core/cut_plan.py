"""What each stage of a cut model is, and what its head adds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage as it was cut. Operations are forward multiply-adds a sample, bytes are kept for backward a sample."""

    cut: str
    """The submodule after which the stage ends; empty for the last."""
    features: tuple[int, ...]
    """Shape of what its head reads, without the batch."""
    parameters: int
    operations: int
    kept_bytes: int
    """Of the piece of the trunk alone."""
    head: str
    head_parameters: int
    head_operations: int


@dataclass(frozen=True)
class Plan:
    """How a model was cut; prints as a table."""

    stages: tuple[StagePlan, ...]

    @property
    def head_share(self) -> float:
        """Operations of all heads over those of the trunk."""
        return sum(stage.head_operations for stage in self.stages) / max(sum(stage.operations for stage in self.stages), 1)

    def __str__(self) -> str:
        trunk = ("stage", "ends after", "features", "parameters", "multiply-adds", "kept bytes")
        rows = [(*trunk, "head", "its parameters", "its multiply-adds")]
        for i, stage in enumerate(self.stages, 1):
            shape = "x".join(map(str, stage.features))
            kept = f"{stage.kept_bytes / 2**10:.0f} KiB"
            own = (f"{stage.parameters:,}", f"{stage.operations / 1e6:.2f} M", kept)
            head = (stage.head, f"{stage.head_parameters:,}", f"{stage.head_operations / 1e6:.2f} M")
            rows.append((str(i), stage.cut or "the model", shape, *own, *head))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        parameters = sum(stage.head_parameters for stage in self.stages)
        return "\n".join([*lines, f"heads: {parameters:,} parameters, {100 * self.head_share:.1f} % of the trunk's multiply-adds"])
