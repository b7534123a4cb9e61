from torchsid.show.figures.scaling import scaling

LINES = {name: [(100.0, 1.0, True), (150.0, 0.75, True), (160.0, 0.4, True)] for name in ("SID", "1F1B", "ZB-H1", "FSDP")}


def test_every_method_is_drawn_and_named_in_both_panels() -> None:
    drawing = scaling("devices", [1, 2, 4], LINES, "mlp")
    assert all(drawing.svg.count(f">{name}</text>") == 2 for name in LINES)


def test_what_does_not_fit_has_a_hollow_mark() -> None:
    full = {name: [*line[:-1], (160.0, 0.4, False)] for name, line in LINES.items()}
    assert "fill-opacity: 0" not in scaling("devices", [1, 2, 4], LINES, "mlp").svg
    assert scaling("devices", [1, 2, 4], full, "mlp").svg.count("fill-opacity: 0") == 2 * 4  # panels, methods
