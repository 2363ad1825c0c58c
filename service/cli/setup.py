"""What the commands share: their common options, a site's decisions, and errors said as messages with exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click

from service.cds.cards import Presentation
from service.cds.i18n import LANGUAGES, Wording
from service.errors import MagnesiumCdsError, SettingsError
from service.fhir import primitives
from service.fhir.snapshot import Site
from service.logic.model import Hook
from service.population.setup import Configuration
from service.population.setup import Setup as PopulationSetup
from service.settings import SITE, Settings, load
from service.settings.site import RuleMode
from service.site import now, site_of, site_schema

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Setup:
    """What a site decides about reading, judging and wording."""

    settings: Settings
    site: Site
    how: Presentation


class Commands(click.Group):
    """A group whose commands end with a message, never a traceback: 2 for settings that are wrong, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; deliberate errors become its last words. No colour where the user wants none."""
        if environment().get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo("The settings are wrong:\n" + "\n".join(f"  {line}" for line in error.problems), err=True)
            ctx.exit(2)
        except MagnesiumCdsError as error:
            raise click.ClickException(str(error)) from error


def environment() -> Mapping[str, str]:
    """The environment, for the settings and nothing else."""
    return os.environ  # noqa: TID251  an entry point hands the environment to settings


def prepare(path: Path | None, language: str | None = None, profile: str = "", research: bool = False) -> Setup:
    """The site file (none: the shipped knowledge as it is), with what the options change. Raises SettingsError."""
    settings = load({SITE: str(path)} if path else {}, site_schema())
    site = site_of(settings)
    if profile and profile not in site.knowledge.profiles:
        raise click.BadParameter(f"is one of {', '.join(site.knowledge.profiles)}", param_hint="--profile")
    site = replace(site, profile=profile or site.profile, research=research or site.research)
    return Setup(settings, site, _presentation(settings, language))


def for_worker(wanted: Configuration) -> PopulationSetup:
    """What a process that judges a population needs, made anew in each."""
    setup = prepare(wanted.site, wanted.language or None, wanted.profile, wanted.research)
    values = {name: Decimal(value) for name, value in wanted.thresholds}
    site = replace(setup.site, knowledge=setup.site.knowledge.with_values(values)) if values else setup.site
    return PopulationSetup(site, setup.how)


def _presentation(settings: Settings, language: str | None) -> Presentation:
    return Presentation(
        wording=Wording(language or settings.service.language, settings.service.zone),
        local_orders=settings.development_tenant.orders,
        rules_off=settings.rules_in(RuleMode.OFF),
        silent=settings.rules_in(RuleMode.SILENT),
        reference=settings.rules_in(RuleMode.REFERENCE),
    )


def moment(wanted: str | None, site: Site) -> datetime:
    """The moment of evaluation: now, or the (end of the) time that was asked for."""
    if wanted is None:
        return now()
    found = primitives.when(wanted, site.zone)
    if found is None:
        raise click.BadParameter("is a date or dateTime such as 2025-06-15T10:00:00Z", param_hint="--as-of")
    return found.end


def progress_bar(label: str, length: int) -> Any:
    """A bar on a terminal's standard error, its label alone elsewhere; `update(n)` moves it."""
    return click.progressbar(length=length, label=label, file=sys.stderr)


def site_option(command: F) -> F:
    """--site"""
    return click.option(
        "--site",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar=SITE,
        help="Site file; without it, and without MAGNESIUM_CDS_SITE, the shipped knowledge as it is.",
    )(command)


def language_option(command: F) -> F:
    """--language"""
    return click.option("--language", type=click.Choice(LANGUAGES), help="Of the sentences.")(command)


def judging_options(command: F) -> F:
    """--hook, --as-of, --profile, --research"""
    hooks = click.Choice([hook.value for hook in Hook])
    for option in (
        click.option("--research", is_flag=True, help="Ask the research rules too."),
        click.option("--profile", default="", help="Reference ranges where the laboratory gives none."),
        click.option("--as-of", "as_of", help="Moment of evaluation, as 2025-06-15T10:00:00Z.  [default: now]"),
        click.option("--hook", type=hooks, default=Hook.PATIENT_VIEW.value, show_default=True, help="Who asks."),
    ):
        command = option(command)
    return command
