"""`token`: keys and signed tokens for a test client, so that a first call needs no EHR."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from service.cli import signing
from service.net.urls import normalise

_HERE = "http://127.0.0.1:8000"
KEY_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def token() -> None:
    """Keys and tokens of a test client."""


@token.command()
@click.argument("file", type=KEY_FILE)
@click.option("--name", default="trial", show_default=True, help="The tenant's name in logs and metrics.")
@click.option("--iss", default="", help="Issuer in its tokens.  [default: urn:magnesium-cds:client:NAME]")
@click.option("--url", default=_HERE, show_default=True, help="Base URL under which callers reach the service.")
@click.option("--algorithm", type=click.Choice(signing.ALGORITHMS), default=signing.ALGORITHMS[0], show_default=True)
def keys(file: Path, name: str, iss: str, url: str, algorithm: str) -> None:
    """Make a key pair: the private key in FILE, the public one beside it; print what the site file says of its owner."""
    base = normalise(url)
    if base is None:
        raise click.BadParameter("is https://host, or http:// for this machine alone", param_hint="--url")
    public = file.with_suffix(".jwks.json")
    if public.exists():
        raise click.ClickException(f"{public}: exists; no key was made")
    made = signing.make(file, iss or f"urn:magnesium-cds:client:{name}", algorithm)
    public.write_bytes(made.public())
    click.echo(
        f"{file}: the private key, for the caller alone. {public}: the public one, beside the site file.", err=True
    )
    click.echo(_site_file(base, name, made.iss, public.name))


def _site_file(base: str, name: str, iss: str, public: str) -> str:
    """What admits the caller; a site file that has these tables already takes only the second."""
    said = [msgspec.json.encode(text).decode() for text in (base, name, iss, public)]
    return """[service]
public_urls = [{}]

[[tenant]]
name = {}
iss = {}
jwks_file = {}""".format(*said)


@token.command()
@click.argument("url")
@click.option("--key", "file", required=True, type=KEY_FILE, help="Private key, as `token keys` writes it.")
@click.option("--iss", default="", help="Issuer, if the key file names none or another.")
@click.option("--seconds", type=click.IntRange(1, 86_400), default=signing.LIFE_S, show_default=True, help="Its life.")
@click.option("--tenant", default="", help="The claim `tenant`.")
@click.option("--sub", default="", help="The claim `sub`.")
def sign(url: str, file: Path, iss: str, seconds: int, tenant: str, sub: str) -> None:
    """Print a token for one call of the endpoint at URL, such as {base}/cds-services/magnesium-patient-view."""
    click.echo(signing.read(file, iss).sign(url, seconds=seconds, tenant=tenant, sub=sub))
