"""`repeat-guard` and `feedback`: what the service keeps, to be forgotten, put under a new key, or taken out as CSV."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from service.cli.admin import database_url
from service.cli.setup import environment
from service.errors import SettingsError
from service.settings import SECRET, SECRET_FILE, load
from service.store.database import once
from service.store.repeat import forget, forget_all
from service.store.secret import Secret
from service.store.summary import summarise, to_csv

_DAYS = 91


@click.group("repeat-guard")
def repeat_guard() -> None:
    """What the repeat guard remembers of patients and users."""


@repeat_guard.command("forget")
@click.option("--tenant", required=True, help="The tenant's name in the site file.")
@click.option("--patient", default="", help="Id of the patient at this tenant, as in the hook's context.")
@click.option("--user", default="", help="Id of the user, as in the hook's context: Practitioner/...")
def forget_one(tenant: str, patient: str, user: str) -> None:
    """Forget one patient, or one user: what was shown is shown again."""
    if bool(patient) == bool(user):
        raise click.UsageError("name either --patient or --user")
    secret = _secret(environment())
    number = once(database_url(environment()), lambda at: forget(at, secret, tenant, patient=patient, user=user))
    click.echo(f"{number} findings forgotten.")


@repeat_guard.command("rotate-key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def rotate_key(file: Path) -> None:
    """Write a new secret into FILE and forget everything that was kept under the old one; then restart all replicas."""
    url = database_url(environment())
    draft = file.with_name(f"{file.name}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(f"{secrets.token_hex(32)}\n")
        number = once(url, forget_all)
        draft.replace(file)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from error
    click.echo(f"{file}: a new secret; {number} findings forgotten. Restart all replicas with it.")


def _secret(environ: Mapping[str, str]) -> Secret:
    """The secret of the environment, without asking for the rest of the settings. Raises SettingsError."""
    given = {name: environ[name] for name in (SECRET, SECRET_FILE) if environ.get(name)}
    secret = load(given).secret
    if not secret:
        raise SettingsError([f"{SECRET}: without it, or {SECRET_FILE}, nothing is kept that could be found"])
    return Secret(secret.encode())


@click.command()
@click.argument("tenant")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help=f"First day.  [default: {_DAYS} days before --until]")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last.  [default: tomorrow]")
def feedback(tenant: str, since: datetime | None, until: datetime | None) -> None:
    """What became of the cards of TENANT ("development" without tenants), as CSV: the rows of /v1/feedback/summary."""
    ends = until.date() if until else datetime.now(UTC).date() + timedelta(days=1)
    begins = since.date() if since else ends - timedelta(days=_DAYS)
    rows = once(database_url(environment()), lambda connection: summarise(connection, tenant, begins, ends))
    click.echo(to_csv(rows), nl=False)
