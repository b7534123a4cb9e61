"""A figure as an SVG file of its own: the colours of the printed page in place of the page's variables."""

import re
from functools import cache
from importlib.resources import files
from textwrap import wrap

from torchsid.show.svg import Drawing

_LETTER, _LINE = 7.4, 18  # of the title: the width of a letter and the height of a line


def standalone(drawing: Drawing) -> str:
    """Return the text of an SVG file: dark on white, title on top, text as text."""
    colours = _colours()
    tag, body = re.split(r"(?<=>)", drawing.svg, maxsplit=1)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', tag)
    assert box is not None
    width, height = float(box[1]), float(box[2])
    lines = wrap(drawing.title, int(width / _LETTER), break_on_hyphens=False)
    top = 10 + _LINE * len(lines)
    body = re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], body).replace("currentColor", colours["ink"])
    label = re.search(r'aria-label="([^"]*)"', tag)
    assert label is not None
    title = "".join(
        f'<text x="6" y="{place * _LINE - top + 19}" font-size="14" font-weight="bold" fill="{colours["ink"]}">{text}</text>\n'
        for place, text in enumerate(line.translate({38: "&amp;", 60: "&lt;", 62: "&gt;"}) for line in lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-top} {width:g} {height + top:g}" '
        f'width="{width:g}pt" height="{height + top:g}pt" font-family="Helvetica, Arial, sans-serif" role="img" '
        f'aria-label="{label[1]}">\n'
        f'<rect y="{-top}" width="{width:g}" height="{height + top:g}" fill="{colours["paper"]}"/>\n'
        f"{title}{body}\n"
    )


@cache
def _colours() -> dict[str, str]:
    """Return the variables of the page by day."""
    style = files("torchsid.show").joinpath("templates/style.css").read_text("utf-8")
    return dict(re.findall(r"--([\w-]+): (#\w+);", style[: style.index("}")]))
