"""Numbers as text, the same on a page and on a terminal."""

from math import isfinite, isnan


def percent(share: float, digits: int = 2) -> str:
    """Return `97.22 %` for 0.9722, with a space that does not break."""
    return number(share) if not isfinite(share) else f"{minus(f'{100 * share:.{digits}f}')}\u00a0%"


def number(value: float) -> str:
    """Return three significant digits, thousands separated.

    >>> number(1234.5), number(-0.01234), number(float("inf"))
    ('1,234', '−0.0123', 'infinite')
    """
    if not isfinite(value):
        return "unknown" if isnan(value) else "infinite"
    return minus(f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}")


def minus(text: str) -> str:
    """Return the text of a number with a minus sign in place of a hyphen."""
    return text.replace("-", "−")


def signed(text: str) -> str:
    """Return the text of a number with its sign.

    >>> signed("1.39"), signed("−0.50")
    ('+1.39', '−0.50')
    """
    return text if text.startswith("−") else f"+{text}"


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> duration(8.4), duration(200), duration(7500)
    ('8.4 s', '3 min 20 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def shortened(name: str, letters: int) -> str:
    """Return a name of at most so many letters.

    >>> shortened("chimpanzee", 6)
    'chimp…'
    """
    return name if len(name) <= letters else name[: letters - 1] + "…"
