"""What a process needs to judge: the site's decisions, made anew in each process from what can be sent to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from service.cds.cards import Presentation
from service.fhir.snapshot import Site


@dataclass(frozen=True, slots=True)
class Setup:
    """What a site decides about reading, judging and wording."""

    site: Site
    how: Presentation


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is asked for; can be sent to another process, which calls `prepare` with it, once."""

    prepare: Callable[[Configuration], Setup]
    site: Path | None = None
    profile: str = ""
    research: bool = False
    language: str = ""
    thresholds: tuple[tuple[str, str], ...] = ()  # values tried instead of the site's


@lru_cache(maxsize=64)
def prepared(configuration: Configuration) -> Setup:
    """The site's decisions, read once in a process."""
    return configuration.prepare(configuration)
