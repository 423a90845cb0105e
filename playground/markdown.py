"""Answers as HTML. Whatever a model, a token's name or a web page put into the text stays text."""

from __future__ import annotations

from functools import lru_cache

from markdown_it import MarkdownIt


@lru_cache(maxsize=1)
def _renderer() -> MarkdownIt:
    # html=False escapes every tag; images are off, so that no text can make the page ask another host.
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False}).enable(["table"])
    markdown.disable(["image"])
    markdown.validateLink = _harmless  # type: ignore[method-assign]
    return markdown


@lru_cache(maxsize=512)
def to_html(text: str) -> str:
    """Markdown as HTML: emphasis, lists, tables, code and links to http(s) pages; all other markup shown as text."""
    return _renderer().render(text)


def _harmless(url: str) -> bool:
    return url.strip().lower().startswith(("https://", "http://", "/token/"))
