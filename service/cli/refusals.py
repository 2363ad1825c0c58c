"""What is wrong where a hook was not answered with cards, in words that say where to look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from service.cli.terminal import printable
from service.errors import Unauthorised
from service.net.connections import ForbiddenPeerError
from service.net.jwks import Keys, read_keys
from service.net.outbound import session
from service.settings import file as site_file
from service.settings.site import SiteFile
from service.site import site_schema
from service.token_checks import LEEWAY_S, Token, check_token, key_sources, read_token, verified

_SECONDS = 5.0
"""For what is asked in order to explain: discovery and key sets."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: base URL and path, the token it bore ("" for none), the service's site file if it is at hand."""

    base: str
    path: str
    token: str
    site: Path | None
    out: requests.Session


def request_id(answer: requests.Response) -> str:
    """The id under which the service's log speaks of the request; "" from anything but this service."""
    return answer.headers.get("X-Request-Id", "")


def unanswered(error: Exception, base: str, seconds: float) -> str:
    """Why no answer came at all."""
    causes = [*_causes(error)]
    if isinstance(error, requests.exceptions.SSLError):
        return f"{base}: no TLS connection: {causes[-1]}. --ca names the authorities of a hospital; http:// is without TLS."
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"{base}: no connection within {seconds:g} s: a firewall drops it, or the address is wrong."
    if isinstance(error, requests.exceptions.Timeout) or any(isinstance(each, TimeoutError) for each in causes):
        return f"{base}: connected, but no answer within {seconds:g} s: see the service's log, or a proxy on the way."
    for kind, words in _NO_CONNECTION.items():
        if any(isinstance(each, kind) for each in causes):
            return f"{base}: {words}."
    return f"{base}: the connection broke off ({type(causes[-1]).__name__}): https to an http port, or a proxy."


_NO_CONNECTION: dict[type[BaseException], str] = {
    NameResolutionError: "no such host is known here (DNS)",
    ForbiddenPeerError: "the name leads to an address that no service answers on (link-local, multicast)",
    ConnectionRefusedError: "nothing listens there: is the service started, on this host and port",
    NewConnectionError: "no connection: no route to the host, or the port is closed",
}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, however requests and urllib3 wrapped it."""
    yield error
    inner = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
    found = next((each for each in inner if isinstance(each, BaseException)), None)
    if found is not None:
        yield from _causes(found)


def why(answer: requests.Response, sent: Sent, good: type[msgspec.Struct]) -> list[str]:
    """What is wrong with an answer, line by line; nothing if it is 200 and a `good` one."""
    body = _object(answer)
    if answer.status_code == requests.codes.ok and _fits(body, good):
        return []
    lines = [f"{answer.status_code} {answer.reason} from {sent.base}{sent.path}", *_explained(answer, body, sent)]
    return [str(printable(line)) for line in lines]


def _fits(body: Json, good: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(body, good)
    except msgspec.ValidationError:
        return False
    return True


def _explained(answer: requests.Response, body: Json, sent: Sent) -> Iterator[str]:
    status = answer.status_code
    if answer.is_redirect:
        yield f"It redirects to {answer.headers['Location']}: give that one as URL."
    elif status == requests.codes.not_found:
        yield from _issues(body)
        yield _services(sent)
    elif body.get("resourceType") != "OperationOutcome":
        yield _stranger(answer)
    elif status == requests.codes.unauthorized:
        yield from _unproved(answer, sent)
    else:
        yield from _issues(body)
        yield from _hints(answer)
    if found := request_id(answer):
        yield f"In the service's log: request_id {found}"


def _hints(answer: requests.Response) -> Iterator[str]:
    if answer.status_code == requests.codes.precondition_failed:
        yield "Send them in `prefetch` under these keys, or `fhirServer` with `fhirAuthorization` to read them from."
    if after := answer.headers.get("Retry-After"):
        yield f"Try again after {after} s."


def _issues(body: Json) -> Iterator[str]:
    """The issues of an OperationOutcome, each with its place in the request."""
    for issue in body.get("issue", ()):
        place = ", ".join(issue.get("expression", ()))
        text = issue.get("details", {}).get("text") or issue.get("diagnostics", "")
        yield f"  {place}: {text}" if place else f"  {text}"


def _stranger(answer: requests.Response) -> str:
    """An answer that this service never gives: who gave it, as far as it shows."""
    kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
    title = re.search(r"<title>(.{1,100}?)</title>", answer.text[:4000], re.DOTALL | re.IGNORECASE)
    said = f' "{title[1].strip()}"' if title else ""
    server = f", Server: {answer.headers['Server']}" if "Server" in answer.headers else ""
    return f"Not an answer of this service but {kind}{said}{server}: a proxy before it, or another program at this URL."


def _services(sent: Sent) -> str:
    try:
        listed = sent.out.get(f"{sent.base}/cds-services", timeout=_SECONDS, allow_redirects=False)
        names = [service["id"] for service in _object(listed)["services"]]
    except (requests.RequestException, OSError, KeyError, TypeError):
        return f"Nor is there discovery at {sent.base}/cds-services: the base URL is another."
    return f"Services there: {', '.join(names)}"


def _object(answer: requests.Response) -> Json:
    try:
        return msgspec.json.decode(answer.content, type=Json)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


# ---- a token that was refused ---------------------------------------------------------------------------------------


def _unproved(answer: requests.Response, sent: Sent) -> Iterator[str]:
    """The service says no more than 401 on purpose; its log has the reason, and with the site file it is found here."""
    if not sent.token:
        yield "No token was sent: --key signs one (`magnesium-cds token keys` makes a key)."
        return
    token = read_token(f"Bearer {sent.token}")
    yield f"The token: iss {token.claims.iss}, aud {token.claims.aud}, alg {token.header.alg}, kid {token.header.kid}"
    if (skew := _skew(answer)) > LEEWAY_S:
        yield f"The clocks of this machine and of the service are {skew:.0f} s apart; {LEEWAY_S} s are allowed."
    if sent.site:
        yield from _by_site_file(token, sent, sent.site)
    else:
        yield "Why stands in the service's log (line `refused`, field `reason`); --site FILE, its site file, says it here."


def _skew(answer: requests.Response) -> float:
    """Seconds between this clock and the `Date` of the answer."""
    try:
        return abs((datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


def _by_site_file(token: Token, sent: Sent, path: Path) -> Iterator[str]:
    site, problems = site_file.read(path, site_schema(), production=False)
    if problems:
        yield f"{path} is itself wrong; `magnesium-cds check-site {path}` says where."
        return
    yield f"{path}: iss {_listed(t.iss for t in site.tenant)}, public_urls {_listed(site.service.public_urls)}"
    try:
        _check(token, sent.path, site)
    except Unauthorised as error:
        yield f"By this file the reason is: {error}"
    except (OSError, ValueError) as error:
        yield f"By this file the reason is: its keys cannot be read ({type(error).__name__}: {error})"
    else:
        yield "By this file the token is good: the service was started with another, or before the last change of it."


def _check(token: Token, path: str, site: SiteFile) -> None:
    """As the service does, but for whether the token was used before. Raises Unauthorised, and as `_keys`."""
    tenant = check_token(token, site.tenant, site.service.public_urls, path, datetime.now(UTC))
    sources = key_sources(token.header, tenant)
    known = [key for source in sources for key in _keys(source, site).get(token.header.kid, ())]
    if not verified(token, known):
        raise Unauthorised("the signature does not hold" if known else f"no such key of {tenant.name} is known")


def _listed(words: Any) -> str:
    return ", ".join(words) or "none"


def _keys(source: str | Path, site: SiteFile) -> Keys:
    """The keys of a source, read as the service reads them. Raises OSError (requests' errors too) or ValueError."""
    if isinstance(source, Path):
        return read_keys(source.read_bytes())
    out = session(loopback=True, ca_bundle=site.service.ca_bundle)
    answer = out.get(source, timeout=_SECONDS, allow_redirects=False)
    if answer.status_code != requests.codes.ok:
        raise OSError(f"{source} answers {answer.status_code}")
    return read_keys(answer.content)
