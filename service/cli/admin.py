"""`check-site`, `load-rxnorm` and `db upgrade`: what an operator does before the service starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import click

from service.cli.setup import environment, progress_bar
from service.errors import SettingsError
from service.logic.knowledge import load as load_knowledge
from service.settings import MODE, Mode, load
from service.settings import file as site_file
from service.settings.site import ServiceSettings, SiteFile
from service.site import site_schema
from service.store import upgrade
from service.terminology import rxnorm

_DATABASE = ("DATABASE_URL", "DATABASE_URL_FILE")


@click.command("check-site")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    envvar=MODE,
    default=Mode.PRODUCTION.value,
    show_default=True,
    help="Production asks for more than development.",
)
def check_site(file: Path, mode: str) -> None:
    """Check a site file: say what it changes, or every problem with its line (exit status 2)."""
    site, problems = site_file.read(file, site_schema(), production=mode == Mode.PRODUCTION)
    problems += _table_problems(file, site)
    if problems:
        click.echo("\n".join(problems), err=True)
        click.get_current_context().exit(2)
    click.echo("\n".join([f"{file}: OK ({mode})", *(f"  {line}" for line in _changes(site))]))


def _table_problems(file: Path, site: SiteFile) -> list[str]:
    try:
        if site.service.rxnorm_table:
            rxnorm.read(Path(site.service.rxnorm_table))
    except SettingsError as error:
        return [f"{file}: service.rxnorm_table: {problem}" for problem in error.problems]
    return []


def _changes(site: SiteFile) -> Iterator[str]:
    """What the file makes different from an installation without one."""
    usual = ServiceSettings()
    for item in fields(ServiceSettings):
        value = getattr(site.service, item.name)
        if value != getattr(usual, item.name):
            yield f"service.{item.name}: {_shown(value)} (default {_shown(getattr(usual, item.name))})"
    for tenant in site.tenant:
        yield f"tenant {tenant.name}: {tenant.iss}"
    parameters = load_knowledge().parameters
    for name, value in site.thresholds.items():
        unit = next(iter(parameters[name].values))
        yield f"threshold {name}: {value} {unit} instead of {parameters[name].first} ({parameters[name].meaning})"
    for rule, mode in site.rules.items():
        yield f"rule {rule}: {mode.value}"
    yield from _counted({"local lab codes": site.labs, "local drug codes": site.drugs})
    yield from _counted({"order codes": site.orders, "aliases": site.aliases})


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _counted(tables: Mapping[str, Mapping[object, object]] | Mapping[str, object]) -> Iterator[str]:
    for name, rows in tables.items():
        if isinstance(rows, Mapping) and rows:
            yield f"{name}: {len(rows)}"


@click.command("load-rxnorm")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("rxnorm.table"),
    show_default=True,
    help="Where the table is written.",
)
def load_rxnorm(folder: Path, output: Path) -> None:
    """Read the RRF files of an RxNorm release in DIR into the table that a site file names as rxnorm_table."""
    try:
        table = _read_release(folder)
        table.write(output)
    except SettingsError as error:
        raise click.ClickException("; ".join(error.problems)) from error
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from error
    click.echo(f"{output}: {len(table.codes())} product codes{f', {table.release}' if table.release else ''}")
    click.echo(f'In the site file, under [service]: rxnorm_table = "{output.name}"')


def _read_release(folder: Path) -> rxnorm.RxNormTable:
    with progress_bar("Reading RxNorm", 1) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        return rxnorm.load(folder, progress)


@click.group()
def db() -> None:
    """The database that outlives requests."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the tables of DATABASE_URL (or DATABASE_URL_FILE) up to this version; safe to repeat."""
    url = database_url(environment())
    click.echo(f"Upgrading the {url.partition(':')[0].partition('+')[0]} database ...", err=True)
    upgrade(url)
    click.echo("The tables are up to date.")


def database_url(environ: Mapping[str, str]) -> str:
    """The database of the environment, without asking for the rest of the settings. Raises SettingsError."""
    given = {name: environ[name] for name in _DATABASE if environ.get(name)}
    if not given and environ.get(MODE) == Mode.PRODUCTION:
        raise SettingsError(["DATABASE_URL: production needs it (or DATABASE_URL_FILE) to be set"])
    return load(given).database_url
