import pytest

from torchsid.core.cut_plan import Plan, StagePlan


def stage(cut: str = "layer1", *, operations: int = 2_000_000, head_operations: int = 500_000) -> StagePlan:
    return StagePlan(
        cut=cut,
        features=(16, 8, 8),
        parameters=12_345,
        operations=operations,
        kept_bytes=3 * 2**10,
        head="conv",
        head_parameters=99,
        head_operations=head_operations,
    )


def test_the_share_of_the_heads() -> None:
    assert Plan((stage(), stage("", operations=8_000_000, head_operations=0))).head_share == pytest.approx(0.05)


def test_a_trunk_without_operations_has_a_share() -> None:
    assert Plan((stage(operations=0, head_operations=0),)).head_share == 0


def test_it_prints_as_a_table() -> None:
    lines = str(Plan((stage(), stage("", head_operations=0)))).splitlines()
    assert len(lines) == 4
    assert lines[0].split("  ")[0] == "stage"
    for column in ("ends after", "features", "parameters", "multiply-adds", "kept bytes", "head"):
        assert column in lines[0]
    assert lines[1].split() == ["1", "layer1", "16x8x8", "12,345", "2.00", "M", "3", "KiB", "conv", "99", "0.50", "M"]
    assert lines[2].split()[:3] == ["2", "the", "model"]
    assert lines[3] == "heads: 198 parameters, 12.5 % of the trunk's multiply-adds"
    assert all(line == line.rstrip() for line in lines)
    assert lines[1].index("layer1") == lines[0].index("ends after")


def test_the_largest_line_sets_the_width() -> None:
    plan = Plan((stage("encoder.layers.10.output"), stage("")))
    head, first, last, _ = str(plan).splitlines()
    assert head.index("features") == first.index("16x8x8") == last.index("16x8x8")
