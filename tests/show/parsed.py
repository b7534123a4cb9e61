"""What every page must be: well-formed, complete in itself, readable by day and by night, with anchors that lead somewhere."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br"}


class Parsed(HTMLParser):
    """A page; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]

    @property
    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.tags if tag == "section"]


def parsed(text: str) -> Parsed:
    """Return the page after all that holds of every page was checked."""
    page = Parsed(text)
    ids, links = page.values("id"), page.values("href")
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert [f"#{name}" for name in page.sections] == [link for link in links if link[1:] in page.sections]  # in the same order
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|@import", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    assert [tag for tag, _ in page.tags].count("h1") == 1
    return page
