"""Who is calling: a CDS Hooks bearer token becomes a Caller, or is refused without a word about why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import structlog
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import CompactSignature, JWSRegistry

from service.api.auth.jwks_cache import KeyCache, Source
from service.errors import Unauthorised
from service.net.jwks import PublicKey
from service.observability.logging import digest
from service.settings import Settings
from service.settings.site import Replay, Tenant

LEEWAY_S = 60
MAX_TOKEN = 16 * 1024
MAX_HEADER = 4096  # encoded; a kid and a jku of some length
# Headers that bring or point to keys of their own, or that change what the signature means.
FORBIDDEN = frozenset({"b64", "crit", "jwk", "x5c", "x5u"})

log = structlog.get_logger(__name__)

RememberJti = Callable[[str, str, datetime, bool], bool]
"""(iss, jti, when it may be forgotten, strict) → True the first time. Answers in good time, from its own memory if need
be, but where it is to be strict: then StoreUnavailable."""

_TOKEN = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\w-]+\.[\w-]+\.[\w-]+) *", re.ASCII)
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of its tenant in the site file, and the tenant itself."""

    name: str
    tenant: Tenant


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: _Word
    typ: str
    jku: str | None = None


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    aud: str | list[str]
    exp: float
    iat: float
    jti: _Word
    nbf: float | None = None
    tenant: str | None = None


class _Token(msgspec.Struct, frozen=True):
    header: _Header
    claims: _Claims
    signed: CompactSignature


class _Registry(JWSRegistry):
    max_header_length = MAX_HEADER


def authenticate(
    authorization: str | None,
    url_path: str,
    now: datetime,
    settings: Settings,
    keys: KeyCache,
    remember_jti: RememberJti,
) -> Caller:
    """The caller that this `Authorization` header proves, for the endpoint at `url_path` (below the public URL).

    Everything that costs nothing is checked before keys are looked up, and a token is remembered only once its
    signature holds. Raises Unauthorised; its reason is for the log and quotes nothing of the token.
    Source: CDS Hooks 2.0, "Trusting CDS Clients"; RFC 8725.
    """
    if not settings.authenticates:
        return Caller(settings.development_tenant.name, settings.development_tenant)
    token = _read(authorization)
    tenant = _tenant(settings.tenants, token.claims)
    _check_header(token.header, tenant)
    _check_times(token.claims, tenant, now.timestamp())
    _check_audience(token.claims, tenant, settings.service.public_urls, url_path)
    _check_signature(token, tenant, keys)
    _check_replay(token.claims, tenant, remember_jti)
    return Caller(tenant.name, tenant)


def _read(authorization: str | None) -> _Token:
    match = _TOKEN.fullmatch(authorization or "") if len(authorization or "") <= MAX_TOKEN else None
    if match is None:
        raise Unauthorised("no bearer token of three parts")
    try:
        signed = jws.extract_compact(match[1].encode("ascii"), registry=_Registry())
        headers = dict(signed.headers())
        header = msgspec.convert(headers, _Header)
        claims = msgspec.json.decode(signed.payload, type=_Claims)
    except (JoseError, ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        raise Unauthorised("the token cannot be read, or lacks a claim or header") from None
    if FORBIDDEN & headers.keys():
        raise Unauthorised("a header that is not accepted")
    if not claims.jti.isprintable():
        raise Unauthorised("jti is not printable")
    return _Token(header, claims, signed)


def _tenant(tenants: Iterable[Tenant], claims: _Claims) -> Tenant:
    known = [tenant for tenant in tenants if tenant.iss == claims.iss]
    if not known:
        raise Unauthorised("iss is unknown")
    for tenant in known:
        if not tenant.tenants or claims.tenant in tenant.tenants:
            return tenant
    raise Unauthorised("the tenant claim is not on the list")


def _check_header(header: _Header, tenant: Tenant) -> None:
    if header.alg not in tenant.algorithms:
        raise Unauthorised(f"alg is not accepted from {tenant.name}")
    if header.typ.upper() != "JWT":
        raise Unauthorised("typ is not JWT")
    if header.jku is not None and header.jku not in tenant.jku:
        raise Unauthorised(f"jku is not one of {tenant.name}")


def _check_times(claims: _Claims, tenant: Tenant, now: float) -> None:
    if claims.exp <= now - LEEWAY_S:
        raise Unauthorised("expired")
    if claims.iat > now + LEEWAY_S or (claims.nbf or 0) > now + LEEWAY_S:
        raise Unauthorised("not valid yet")
    if not 0 < claims.exp - claims.iat <= tenant.max_token_s:
        raise Unauthorised(f"valid for longer than {tenant.name} may ask")


def _check_audience(claims: _Claims, tenant: Tenant, public_urls: Iterable[str], url_path: str) -> None:
    """`aud` names the endpoint called, for feedback also its service, or is a further value the site accepts."""
    paths = {url_path, url_path.removesuffix("/feedback")}
    expected = {_plain(base + path) for base in public_urls for path in paths}
    given = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if not any(value in tenant.audience or _plain(value) in expected for value in given):
        raise Unauthorised("aud names another place")


def _plain(url: str) -> str:
    """Without the doubled and trailing slashes that clients make when they join a base and a path."""
    return re.sub(r"(?<!:)/{2,}", "/", url).rstrip("/")


def _check_signature(token: _Token, tenant: Tenant, keys: KeyCache) -> None:
    sources = _sources(token.header, tenant)
    tried: tuple[PublicKey, ...] = ()
    while found := keys.find(sources, token.header.kid, tried):  # again: another source, or a rotation, kept the kid
        if _verified(token, found):
            return
        tried += found
    raise Unauthorised("the signature does not hold" if tried else f"no such key of {tenant.name} is known")


def _sources(header: _Header, tenant: Tenant) -> tuple[Source, ...]:
    """The keys agreed beforehand, then those at the `jku` of the token or, if it has none, at the issuer's."""
    return (*filter(None, [tenant.jwks_file]), *([header.jku] if header.jku else tenant.jku))


def _verified(token: _Token, keys: Iterable[PublicKey]) -> bool:
    """Does the signature hold with one of the keys?"""
    registry = _Registry(algorithms=[token.header.alg], strict_check_header=False)
    return any(_holds(token.signed, key, registry) for key in keys)


def _holds(signed: CompactSignature, key: PublicKey, registry: JWSRegistry) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=registry)
    except (JoseError, ValueError):
        return False  # a key of another type, curve or purpose


def _check_replay(claims: _Claims, tenant: Tenant, remember_jti: RememberJti) -> None:
    forget_at = datetime.fromtimestamp(claims.exp, UTC) + timedelta(seconds=LEEWAY_S)
    if remember_jti(claims.iss, claims.jti, forget_at, tenant.replay is Replay.STRICT):
        return
    log.warning("token_seen_before", tenant=tenant.name, jti=digest(claims.jti))
    if tenant.replay is not Replay.REPORT:
        raise Unauthorised("the token has been used before")
