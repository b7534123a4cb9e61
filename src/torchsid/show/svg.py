"""Matplotlib figures as inline SVG that takes its colours and its typeface from the page.

A figure is drawn with sentinel colours that no one would choose; in the SVG each is replaced by a CSS variable of the
page, so that one drawing serves the light, the dark and the printed page. Text stays text.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from torchsid.packages import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0a000{number}" for number in range(1, 8))  # the page's --s1 … --s7, from Okabe and Ito
_CSS = {INK: "currentColor", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}
_CSS |= {sentinel: f"var(--s{number})" for number, sentinel in enumerate(SERIES, 1)}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: its title says what it shows, `svg` is safe to insert in the page."""

    title: str
    svg: str


def look(index: int) -> tuple[str, str, str]:
    """Return colour, line style and mark of the series at `index`; colours repeat dashed, then dotted, the mark tells in grey."""
    return SERIES[index % len(SERIES)], ("-", "--", ":")[index // len(SERIES) % 3], "os^DvPX"[index % 7]


@contextmanager
def canvas(width: float, height: float) -> "Iterator[tuple[Figure, Axes]]":
    """Yield a figure of `width` × `height` CSS pixels with one pair of axes, in the page's style.

    Raises:
        MissingPackageError: Matplotlib is missing.
    """
    require("matplotlib", extra="report", purpose="a figure")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = str(files("torchsid.show") / "figure.mplstyle")
    with mpl.rc_context(fname=style), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's typeface lacks; a name too long for a figure only costs space.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font|constrained_layout not applied")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        yield figure, figure.subplots()


def key(figure: "Figure", names: Sequence[str], handles: Sequence[Any]) -> None:
    """Explain colours and marks below the figure, which grows by as much; a name too long for it takes several lines."""
    if not names:
        return
    width, mark, letter = 72 * figure.get_figwidth(), 30, 6.1  # CSS pixels
    columns = int(max(1, min(4, len(names), width / (mark + letter * max(map(len, names))))))
    texts = ["\n".join(wrap(name, int((width - mark) / letter))) or name for name in names]
    lines = -(-len(names) // columns) + "".join(texts).count("\n")
    figure.set_figheight(figure.get_figheight() + (12 + 15 * lines) / 72)
    figure.legend(handles, texts, loc="outside lower left", ncols=columns)


def finish(figure: "Figure", title: str, description: str) -> Drawing:
    """Return the figure, drawn within `canvas`, as an element of a page: no identifiers that clash, colours from CSS.

    The title says what it shows, the description is read to those who cannot see it.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = StringIO()
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine("none")
    # `savefig` would draw everything twice.
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    body = buffer.getvalue().partition("<svg")[2]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", f"<svg{body}", flags=re.DOTALL)
    prefix = "f" + sha256((title + description + body).encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', "".join(re.findall(r"<[^>]*>", body))))
    # Only tags are rewritten: the text between them is the user's.
    body = re.sub(r"<[^>]*>", lambda tag: _restyle(tag[0], prefix, used), body)
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box is not None
    return Drawing(title, element(box[1], body[body.index(">") + 1 :].strip().removesuffix("</svg>"), f"{title}. {description}"))


def element(box: str, body: str, description: str) -> str:
    """Return an SVG element of a page, at most a fifth larger than it was drawn; `box` is its `viewBox`."""
    limit = round(1.2 * float(box.split()[2]))
    return f'<svg viewBox="{box}" style="max-width: {limit}px" role="img" aria-label="{escape(description)}">{body}</svg>'


def standalone(*drawings: Drawing) -> str:
    """Return the text of an SVG file with drawings one below the other, each under its title: in the page's colours.

    They are written for the day, as every program knows them; a browser exchanges them by night.
    """
    style = files("torchsid.show").joinpath("style.css").read_text("utf-8")
    colours, dark = (dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in style.split("}", 2)[:2])
    night = "".join(
        f'[{kind}="{colours[name]}"],[style*="{kind}: {colours[name]}"]{{{kind}:{dark[name]}!important}}'
        for name in dark
        for kind in ("fill", "stroke")
    )
    parts, across, down = [], 0.0, 0.0
    for drawing in drawings:
        width, height = map(float, drawing.svg.split('"', 2)[1].split()[2:])  # of its viewBox
        for line in wrap(drawing.title, int(width / 7.4), break_on_hyphens=False):  # 7.4: the width of a letter
            down += 18
            place = f'x="6" y="{down + 1:g}" font-size="14" font-weight="bold" fill="currentColor"'
            parts.append(f"<text {place}>{escape(line)}</text>")
        parts.append(drawing.svg.replace("<svg", f'<svg y="{down + 10:g}" width="{width:g}" height="{height:g}"', 1))
        across, down = max(across, width), down + height + 16
    body = re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], "\n".join(parts)).replace("currentColor", colours["ink"])
    size = f'viewBox="0 0 {across:g} {down:g}" width="{across:g}pt" height="{down:g}pt"'
    paper = f'<rect width="{across:g}" height="{down:g}" fill="{colours["paper"]}"/>'
    shown = f"<style>@media (prefers-color-scheme: dark){{{night}}}</style>\n{paper}\n{body}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">\n{shown}\n</svg>\n'


def _restyle(tag: str, prefix: str, used: set[str]) -> str:
    """Return one tag with the page's colours, without a typeface, and with only those identifiers that are referred to."""
    tag = re.sub(r"font-family: [^;\"]+;? ?", "", tag)
    for sentinel, css in _CSS.items():
        tag = tag.replace(sentinel, css)
    tag = re.sub(r' id="([^"]+)"', lambda match: f' id="{prefix}-{match[1]}"' if match[1] in used else "", tag)
    tag = tag.replace("url(#", f"url(#{prefix}-").replace('xlink:href="#', f'href="#{prefix}-').replace("xlink:href", "href")
    return re.sub(r"\n\s*", " ", tag)
