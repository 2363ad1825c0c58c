"""Writes docs/governance/*.md from rules, guards and the hazard log, so that they cannot drift: `make docs`; a test compares."""

from __future__ import annotations

from pathlib import Path

from service.governance.paper import SECTIONS, Installation
from service.logic.knowledge import load

FOLDER = Path(__file__).parents[1] / "docs" / "governance"


def render() -> dict[str, str]:
    """File name -> page, of the shipped knowledge."""
    shipped = Installation(load())
    return {f"{section.id}.md": section.markdown(shipped) for section in SECTIONS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in render().items():
        (FOLDER / name).write_text(page, encoding="utf-8")
