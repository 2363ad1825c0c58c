"""Who reads a page: the access token of an EHR's user, verified at that EHR, by introspection or by its keys."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
import requests
import structlog
from joserfc import jws
from joserfc.errors import JoseError
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from service.api.auth.jwks_cache import KeyCache
from service.api.auth.tokens import Caller
from service.errors import Overloaded, Unauthorised
from service.net.jwks import PublicKey
from service.settings import Settings
from service.settings.site import Smart
from service.token_checks import FORBIDDEN, LEEWAY_S, MAX_TOKEN, Registry, signature_holds

CONNECT_S, ANSWER_S = 1.0, 3.0
MAX_ANSWER = 64 * 1024
AGAIN_S = 5  # when a reader may try again whose EHR did not answer
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*) *", re.ASCII)

log = structlog.get_logger(__name__)


class _Introspected(msgspec.Struct):
    """RFC 7662, section 2.2; SMART App Launch 2 requires all four."""

    active: bool = False
    exp: float = 0
    client_id: str = ""
    scope: str = ""


class _Claims(msgspec.Struct):
    iss: str
    aud: str | list[str]
    exp: float
    nbf: float = 0
    client_id: str = ""
    azp: str = ""


class _Header(msgspec.Struct):
    alg: str
    kid: str


def verify(
    authorization: str | None, iss: str, now: datetime, settings: Settings, keys: KeyCache, out: requests.Session
) -> Caller:
    """The tenant at whose FHIR server `iss` this `Authorization` header is a live token of our app.

    The token goes to nobody but the authorization server that the site file names for `iss`. Raises Unauthorised, whose
    reason quotes nothing of it, and Overloaded where that server does not answer: unproved is not proved.
    """
    if not settings.authenticates:
        return Caller(settings.development_tenant.name, settings.development_tenant)
    found = settings.opened_at(iss)
    if found is None:
        raise Unauthorised("no EHR is configured for SMART at this iss")
    tenant, smart = found
    match = _BEARER.fullmatch(authorization or "") if len(authorization or "") <= MAX_TOKEN else None
    if match is None:
        raise Unauthorised("no bearer token")
    if smart.jwks:
        _check_signed(match[1], smart, smart.jwks, now, keys)
    else:
        _check_active(_introspected(match[1], smart, out), smart, now)
    return Caller(tenant.name, tenant)


def _check_active(said: _Introspected, smart: Smart, now: datetime) -> None:
    if not said.active:
        raise Unauthorised("the token is not active")
    if said.client_id != smart.client_id:
        raise Unauthorised("the token was issued to another app")
    if said.exp <= now.timestamp() - LEEWAY_S:
        raise Unauthorised("the token has expired, or does not say when it does")


def _introspected(token: str, smart: Smart, out: requests.Session) -> _Introspected:
    """What the authorization server says of a token (RFC 7662)."""
    try:
        return msgspec.json.decode(_asked(token, smart, out), type=_Introspected)
    except (OSError, HTTPError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("introspection_failed", source=smart.introspection, error=type(error).__name__)
        raise Overloaded("the EHR's authorization server did not say whether the token is good", AGAIN_S) from None


def _asked(token: str, smart: Smart, out: requests.Session) -> bytes:
    timeout: Any = Timeout(connect=CONNECT_S, total=ANSWER_S)  # requests takes it, its type hints do not know
    with out.post(
        smart.introspection or "",
        data={"token": token, "token_type_hint": "access_token"},
        auth=(quote(smart.introspection_client, safe=""), quote(_secret(smart), safe="")),  # RFC 6749, section 2.3.1
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=timeout,
        allow_redirects=False,
        stream=True,
    ) as answer:
        if answer.status_code != 200:
            raise OSError(f"status {answer.status_code}")
        body: bytes = answer.raw.read(MAX_ANSWER, decode_content=True)
        return body


def _secret(smart: Smart) -> str:
    """Read at each use, so that it can be renewed."""
    file = smart.introspection_secret_file
    return file.read_text(encoding="utf-8").partition("\n")[0].strip() if file else ""


def _check_signed(token: str, smart: Smart, source: str, now: datetime, keys: KeyCache) -> None:
    """A token that is a JWT of the issuer (RFC 9068): for this FHIR server, for our app, alive, and signed."""
    try:
        signed = jws.extract_compact(token.encode("ascii"), registry=Registry())
        headers = dict(signed.headers())
        header, claims = msgspec.convert(headers, _Header), msgspec.json.decode(signed.payload, type=_Claims)
    except (JoseError, ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        raise Unauthorised("the token cannot be read, or lacks a claim or header") from None
    if FORBIDDEN & headers.keys() or header.alg not in smart.algorithms:
        raise Unauthorised("alg or a header is not accepted")
    _check_claims(claims, smart, now.timestamp())
    tried: tuple[PublicKey, ...] = ()
    while found := keys.find((source,), header.kid, tried):
        if signature_holds(signed, header.alg, found):
            return
        tried += found
    raise Unauthorised("the signature does not hold, or its key is not known")


def _check_claims(claims: _Claims, smart: Smart, now: float) -> None:
    audience = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    if claims.iss != smart.issuer:
        raise Unauthorised("another issuer")
    if smart.client_id not in {claims.client_id, claims.azp}:
        raise Unauthorised("the token was issued to another app")
    if not {value.rstrip("/") for value in audience} & {value.rstrip("/") for value in smart.audience or smart.iss}:
        raise Unauthorised("aud names another place")
    if claims.exp <= now - LEEWAY_S or claims.nbf > now + LEEWAY_S:
        raise Unauthorised("expired, or not valid yet")
