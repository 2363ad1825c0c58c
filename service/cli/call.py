"""`call`: one hook fired at a running service, as an EHR would, and its answer, or what is wrong, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import click
import msgspec
import requests

from service import __version__
from service.cds.i18n import LANGUAGES
from service.cds.services import SERVICES
from service.cli import signing
from service.cli.refusals import Sent, request_id, unanswered, why
from service.cli.report import cards_text
from service.cli.token import KEY_FILE
from service.net.outbound import session
from service.net.urls import is_loopback
from service.samples import expand, samples

_FIRST = "furosemide-and-omeprazole"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PATH = "/cds-services"
Json = dict[str, Any]


class _Card(msgspec.Struct):
    uuid: str
    summary: str
    indicator: str


class _Cards(msgspec.Struct):
    cards: list[_Card]


class _Taken(msgspec.Struct):
    accepted: int


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls, and where: `base` is called, tokens name `audience` (the base URL as the service knows it)."""

    base: str
    audience: str
    key: signing.SigningKey | None
    tenant: str
    out: requests.Session
    seconds: float
    language: str
    site: Path | None

    def post(self, path: str, body: Json) -> tuple[requests.Response, Sent]:
        """The answer to a body; ClickException in words where none came."""
        token = self.key.sign(self.audience + path, tenant=self.tenant) if self.key else ""
        sent = Sent(self.base, path, token, self.site, self.out)
        headers = {"Content-Type": "application/json", "User-Agent": f"magnesium-cds-call/{__version__}"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Accept-Language": self.language} if self.language else {}
        try:
            url, data = self.base + path, msgspec.json.encode(body)
            answer = self.out.post(url, data=data, headers=headers, timeout=self.seconds, allow_redirects=False)
        except (requests.RequestException, OSError) as error:
            raise click.ClickException(unanswered(error, self.base, self.seconds)) from error
        return answer, sent


@click.command()
@click.argument("url")
@click.option("--sample", type=click.Choice(list(samples())), help=f"Built-in synthetic patient.  [default: {_FIRST}]")
@click.option("--request", "file", type=_FILE, help="A request of your own (JSON) instead of a sample.")
@click.option("--service", default="", help="Id of the service.  [default: as the sample or the hook says]")
@click.option("--key", type=KEY_FILE, help="Private key, as `token keys` writes it: signs a fresh token for each call.")
@click.option("--iss", default="", help="Issuer, if the key file names none or another.")
@click.option("--tenant", default="", help="The claim `tenant`.")
@click.option("--audience", default="", help="Base URL that tokens name, if callers reach the service by another.")
@click.option("--site", type=_FILE, help="The service's site file: explains a 401.")
@click.option("--ca", type=_FILE, help="Authorities (PEM) that signed the service's certificate.")
@click.option("--language", type=click.Choice(LANGUAGES), default=None, help="Of the cards.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds.")
@click.option("--feedback", type=click.Choice(["accepted", "overridden"]), help="Report this of each card, too.")
@click.option("--json", "as_json", is_flag=True, help="The answer as it came.")
@click.pass_context
def call(ctx: click.Context, /, url: str, **options: Any) -> None:
    """Fire a hook at the service whose base URL is URL, with a built-in sample or an own request; show the cards.

    Exit status: 0 if it was answered (with or without cards), 1 if not, 2 for a wrong option.
    """
    base, _, named = url.rstrip("/").partition(_PATH)
    body, service = _body(options["sample"], options["file"], options["service"] or named.strip("/"))
    client = _client(base, options)
    answer, sent = client.post(f"{_PATH}/{service}", body)
    if not _told(answer, sent, as_json=options["as_json"]):
        ctx.exit(1)
    if options["feedback"] and not _report(client, service, answer.json()["cards"], options["feedback"]):
        ctx.exit(1)


def _client(base: str, options: Json) -> Client:
    host = urlsplit(base).hostname or ""
    if not base.startswith(("https://", "http://")) or not host:
        raise click.BadParameter(
            "is the base URL of the service, such as https://cds.hospital.example", param_hint="URL"
        )
    if base.startswith("http:") and not is_loopback(host):
        click.echo("http beyond this machine: the request and its token can be read on the way.", err=True)
    out = session(loopback=True, ca_bundle=options["ca"])
    out.max_redirects = 1  # none is followed, but with 0 the answer that names one does not get here
    return Client(
        base=base,
        audience=(options["audience"] or base).rstrip("/"),
        key=signing.read(options["key"], options["iss"]) if options["key"] else None,
        tenant=options["tenant"],
        out=out,
        seconds=options["timeout"],
        language=options["language"] or "",
        site=options["site"],
    )


def _body(sample: str | None, file: Path | None, service: str) -> tuple[Json, str]:
    """The request and the service that is to answer it, each call with a `hookInstance` of its own."""
    if sample and file:
        raise click.UsageError("either --sample or --request")
    if file is None:
        known = samples()
        first = next((name for name, each in known.items() if each.service == service), _FIRST)
        chosen = expand(known[sample or first], datetime.now(UTC))
        return chosen.request | {"hookInstance": str(uuid4())}, service or chosen.service
    try:
        body = msgspec.json.decode(file.read_bytes(), type=Json)
    except (OSError, msgspec.MsgspecError) as error:
        raise click.ClickException(f"{file}: not a JSON object") from error
    return body, service or _service_of(body.get("hook"))


def _service_of(hook: object) -> str:
    for service in SERVICES:
        if service.hook.value == hook:
            return service.id
    raise click.UsageError("the request names no hook that is known here: --service says who is to answer")


def _told(answer: requests.Response, sent: Sent, *, as_json: bool) -> bool:
    """Print the answer; was it one?"""
    if as_json:
        click.echo(answer.text)
    wrong = why(answer, sent, _Cards)
    if wrong:
        click.echo("\n".join(wrong), err=True)
    elif not as_json:
        click.echo(cards_text(answer.json()))
        click.echo(
            f"Answered in {answer.elapsed.total_seconds() * 1000:.0f} ms, request {request_id(answer)}.", err=True
        )
    return not wrong


# ---- what became of the cards ---------------------------------------------------------------------------------------


def _report(client: Client, service: str, cards: list[Json], outcome: str) -> bool:
    """Feed back the same outcome for each card that can have it; was it taken?"""
    items = [item for card in cards if (item := _item(card, outcome))]
    if not items:
        click.echo("No card that can be reported so.", err=True)
        return False
    answer, sent = client.post(f"{_PATH}/{service}/feedback", {"feedback": items})
    wrong = why(answer, sent, _Taken)
    click.echo("\n".join(wrong) if wrong else f"Feedback ({outcome}): {answer.text}", err=True)
    return not wrong


def _item(card: Json, outcome: str) -> Json | None:
    """The feedback on one card; none for accepting a card that suggests nothing."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    item = {"card": card["uuid"], "outcome": outcome, "outcomeTimestamp": now}
    if outcome == "accepted":
        taken = [{"id": each["uuid"]} for each in card.get("suggestions", ())[:1]]
        return item | {"acceptedSuggestions": taken} if taken else None
    reasons = card.get("overrideReasons", ())[:1]
    return item | ({"overrideReason": {"reason": reasons[0]}} if reasons else {})
