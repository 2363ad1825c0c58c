"""Who is calling: a CDS Hooks bearer token becomes a Caller, or is refused without a word about why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from service.api.auth.jwks_cache import KeyCache
from service.errors import Unauthorised
from service.net.jwks import PublicKey
from service.observability.logging import digest
from service.settings import Settings
from service.settings.site import Replay, Tenant
from service.token_checks import LEEWAY_S, Claims, Token, check_token, key_sources, read_token, verified

log = structlog.get_logger(__name__)

RememberJti = Callable[[str, str, datetime, bool], bool]
"""(iss, jti, when it may be forgotten, strict) → True the first time. Answers in good time, from its own memory if need
be, but where it is to be strict: then StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of its tenant in the site file, and the tenant itself."""

    name: str
    tenant: Tenant


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
    token = read_token(authorization)
    tenant = check_token(token, settings.tenants, settings.service.public_urls, url_path, now)
    _check_signature(token, tenant, keys)
    _check_replay(token.claims, tenant, remember_jti)
    return Caller(tenant.name, tenant)


def _check_signature(token: Token, tenant: Tenant, keys: KeyCache) -> None:
    sources = key_sources(token.header, tenant)
    tried: tuple[PublicKey, ...] = ()
    while found := keys.find(sources, token.header.kid, tried):  # again: another source, or a rotation, kept the kid
        if verified(token, found):
            return
        tried += found
    raise Unauthorised("the signature does not hold" if tried else f"no such key of {tenant.name} is known")


def _check_replay(claims: Claims, tenant: Tenant, remember_jti: RememberJti) -> None:
    forget_at = datetime.fromtimestamp(claims.exp, UTC) + timedelta(seconds=LEEWAY_S)
    if remember_jti(claims.iss, claims.jti, forget_at, tenant.replay is Replay.STRICT):
        return
    log.warning("token_seen_before", tenant=tenant.name, jti=digest(claims.jti))
    if tenant.replay is not Replay.REPORT:
        raise Unauthorised("the token has been used before")
