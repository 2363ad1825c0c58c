"""The paper as one HTML file that prints: style inside, no script, no request; its sections with a table of contents."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from markdown_it import MarkdownIt

from service.governance.paper import SECTIONS, Installation, Section

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
TITLE = "Magnesium CDS: the paper for a hospital"


@cache
def style() -> str:
    """What stands between the style tags."""
    return files(__package__).joinpath("paper.css").read_text(encoding="utf-8")


@cache
def style_hash() -> str:
    """Its hash as a content security policy states it."""
    return f"sha256-{b64encode(sha256(style().encode()).digest()).decode()}"


def document(installation: Installation) -> str:
    """All sections as one file; English, as the regulations are."""
    contents = "".join(f'<li><a href="#{section.id}">{section.title.template}</a></li>' for section in SECTIONS)
    parts = "".join(f'<section id="{section.id}">{html(section, installation)}</section>' for section in SECTIONS)
    return (
        '<!doctype html>\n<html lang="en" dir="ltr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{style()}</style></head><body>"
        f'<header><p>{TITLE}</p><nav aria-label="Contents"><ol>{contents}</ol></nav></header><main>{parts}</main>'
        "</body></html>\n"
    )


def html(section: Section, installation: Installation) -> str:
    """One section as HTML; its tables scroll by themselves where the screen is narrow."""
    written: str = _MARKDOWN.render(section.markdown(installation))
    opened = written.replace("<table>", '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>')
    return opened.replace("</table>", "</table></div>")
