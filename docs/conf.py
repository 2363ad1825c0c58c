"""How `make site` builds the documentation: Sphinx, the pages of this folder as they are, search without a server."""

import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]

project = "Magnesium CDS"
release = version = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
copyright = "the authors, Apache License 2.0"  # noqa: A001  Sphinx's name
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Magnesium CDS {release}"
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
myst_enable_extensions = ["linkify"]
exclude_patterns = ["examples/*"]
# Links out of this folder are files of the source, which the site does not hold.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
