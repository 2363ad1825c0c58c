"""The documentation as a site at `/docs/guide/index.html`, where `make site` has built it: a checkout, or the image."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import flask

from service.api.pages.page import PAGE_HEADERS
from service.errors import NotFound

SITE = Path(__file__).parents[2] / "build" / "site"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def blueprint(site: Path = SITE) -> flask.Blueprint:
    """Serve the files of the folder `site`; without it every page says how it is built."""
    guide = flask.Blueprint("guide", __name__)

    @guide.get("/docs/guide/<path:name>")
    def page(name: str) -> flask.Response:
        """One file of the site."""
        if not (site / "index.html").exists():
            raise NotFound("The documentation was not built here: `make site`. Its pages are in docs/.")
        response = flask.send_from_directory(site, name, conditional=True)
        response.headers.update(PAGE_HEADERS | {"Content-Security-Policy": _policy(site)})
        return response

    return guide


@cache
def _policy(site: Path) -> str:
    """As for our own pages, and what the theme needs: its one script of a line, by its hash, and its styles.

    Nothing on these pages comes from a caller.
    """
    scripts = _SCRIPT.findall((site / "index.html").read_text(encoding="utf-8"))
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    sources = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    own = f"script-src {sources}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    return f"{PAGE_HEADERS['Content-Security-Policy']}; {own}"
