"""What a bearer token says, and whether a tenant of the site file may say it: all but where its keys come from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import CompactSignature, JWSRegistry

from service.errors import Unauthorised
from service.net.jwks import PublicKey
from service.settings.site import Tenant

LEEWAY_S = 60
MAX_TOKEN = 16 * 1024
MAX_HEADER = 4096  # encoded; a kid and a jku of some length
# Headers that bring or point to keys of their own, or that change what the signature means.
FORBIDDEN = frozenset({"b64", "crit", "jwk", "x5c", "x5u"})

_TOKEN = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\w-]+\.[\w-]+\.[\w-]+) *", re.ASCII)
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Header(msgspec.Struct, frozen=True):
    """The protected header."""

    alg: str
    kid: _Word
    typ: str
    jku: str | None = None


class Claims(msgspec.Struct, frozen=True):
    """The claims that are looked at; times in seconds since 1970."""

    iss: str
    aud: str | list[str]
    exp: float
    iat: float
    jti: _Word
    nbf: float | None = None
    tenant: str | None = None


class Token(msgspec.Struct, frozen=True):
    """A token that can be read; nothing of it is proved yet."""

    header: Header
    claims: Claims
    signed: CompactSignature


class Registry(JWSRegistry):
    max_header_length = MAX_HEADER


def read_token(authorization: str | None) -> Token:
    """The token of an `Authorization` header. Raises Unauthorised."""
    match = _TOKEN.fullmatch(authorization or "") if len(authorization or "") <= MAX_TOKEN else None
    if match is None:
        raise Unauthorised("no bearer token of three parts")
    try:
        signed = jws.extract_compact(match[1].encode("ascii"), registry=Registry())
        headers = dict(signed.headers())
        header = msgspec.convert(headers, Header)
        claims = msgspec.json.decode(signed.payload, type=Claims)
    except (JoseError, ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        raise Unauthorised("the token cannot be read, or lacks a claim or header") from None
    if FORBIDDEN & headers.keys():
        raise Unauthorised("a header that is not accepted")
    if not claims.jti.isprintable():
        raise Unauthorised("jti is not printable")
    return Token(header, claims, signed)


def check_token(
    token: Token, tenants: Iterable[Tenant], public_urls: Iterable[str], url_path: str, now: datetime
) -> Tenant:
    """The tenant that this token names, for the endpoint at `url_path` below one of `public_urls`.

    Costs nothing and looks at no key. Raises Unauthorised; its reason quotes nothing of the token.
    """
    tenant = _tenant_of(tenants, token.claims)
    _check_header(token.header, tenant)
    _check_times(token.claims, tenant, now.timestamp())
    _check_audience(token.claims, tenant, public_urls, url_path)
    return tenant


def _tenant_of(tenants: Iterable[Tenant], claims: Claims) -> Tenant:
    known = [tenant for tenant in tenants if tenant.iss == claims.iss]
    if not known:
        raise Unauthorised("iss is unknown")
    for tenant in known:
        if not tenant.tenants or claims.tenant in tenant.tenants:
            return tenant
    raise Unauthorised("the tenant claim is not on the list")


def _check_header(header: Header, tenant: Tenant) -> None:
    if header.alg not in tenant.algorithms:
        raise Unauthorised(f"alg is not accepted from {tenant.name}")
    if header.typ.upper() != "JWT":
        raise Unauthorised("typ is not JWT")
    if header.jku is not None and header.jku not in tenant.jku:
        raise Unauthorised(f"jku is not one of {tenant.name}")


def _check_times(claims: Claims, tenant: Tenant, now: float) -> None:
    if claims.exp <= now - LEEWAY_S:
        raise Unauthorised("expired")
    if claims.iat > now + LEEWAY_S or (claims.nbf or 0) > now + LEEWAY_S:
        raise Unauthorised("not valid yet")
    if not 0 < claims.exp - claims.iat <= tenant.max_token_s:
        raise Unauthorised(f"valid for longer than {tenant.name} may ask")


def _check_audience(claims: Claims, tenant: Tenant, public_urls: Iterable[str], url_path: str) -> None:
    """`aud` names the endpoint called, for feedback also its service, or is a further value the site accepts."""
    paths = {url_path, url_path.removesuffix("/feedback")}
    expected = {_plain(base + path) for base in public_urls for path in paths}
    given = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if not any(value in tenant.audience or _plain(value) in expected for value in given):
        raise Unauthorised("aud names another place")


def _plain(url: str) -> str:
    """Without the doubled and trailing slashes that clients make when they join a base and a path."""
    return re.sub(r"(?<!:)/{2,}", "/", url).rstrip("/")


def key_sources(header: Header, tenant: Tenant) -> tuple[str | Path, ...]:
    """The keys agreed beforehand, then those at the `jku` of the token or, if it has none, at the issuer's."""
    return (*filter(None, [tenant.jwks_file]), *([header.jku] if header.jku else tenant.jku))


def verified(token: Token, keys: Iterable[PublicKey]) -> bool:
    """Does the signature hold with one of the keys?"""
    return signature_holds(token.signed, token.header.alg, keys)


def signature_holds(signed: CompactSignature, alg: str, keys: Iterable[PublicKey]) -> bool:
    """Does a signature of this algorithm hold with one of the keys?"""
    registry = Registry(algorithms=[alg], strict_check_header=False)
    return any(_holds(signed, key, registry) for key in keys)


def _holds(signed: CompactSignature, key: PublicKey, registry: JWSRegistry) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=registry)
    except (JoseError, ValueError):
        return False  # a key of another type, curve or purpose
