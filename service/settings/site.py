"""The sections of the site file: what may stand in each, and what is checked of each value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool, ValidationInfo

from service.logic.model import Analyte
from service.net.jwks import read_keys
from service.net.urls import allowed_url, loopback_url, normalise
from service.terminology.queries import PREFETCH_KEYS, REQUIRED_KEYS

# Its private key is in its public repository: anyone can be this issuer (cds-hooks/sandbox, jwt-generator.js).
SANDBOX = "https://sandbox.cds-hooks.org"
SMART_LAUNCHER = "https://launch.smarthealthit.org"

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which values, both included, a site may set a parameter."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class SiteSchema:
    """What a site file may speak of; the entry point fills it from the knowledge and the terminology."""

    thresholds: Mapping[str, Bounds] = field(default_factory=lambda: MappingProxyType({}))
    rules: Collection[str] = ()
    ingredients: Collection[str] = ()
    profiles: Collection[str] = ("default",)
    languages: Collection[str] = ("en", "ru", "fa")
    systems: Collection[str] = ()  # names of standard code systems


class Replay(StrEnum):
    """What happens to a token that has been seen before; `strict` also refuses while the store cannot tell."""

    STRICT = "strict"
    ENFORCE = "enforce"
    REPORT = "report"


class RuleMode(StrEnum):
    """Silent: evaluated, but shown on no card. Reference: names its text and sources, recommends nothing."""

    ON = "on"
    OFF = "off"
    SILENT = "silent"
    REFERENCE = "reference"


class Algorithm(StrEnum):
    """The asymmetric signatures that a site may accept; `none` and the symmetric ones do not exist here."""

    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"


@dataclass(frozen=True, slots=True)
class Context:
    """What a check must know besides the value."""

    production: bool
    folder: Path
    schema: SiteSchema


def _context(info: ValidationInfo) -> Context:
    return cast(Context, info.context)


def hint(word: str, words: Iterable[str]) -> str:
    near = get_close_matches(word, list(words), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _one_of(words: Callable[[SiteSchema], Iterable[str]], kind: str) -> AfterValidator:
    def check(value: str, info: ValidationInfo) -> str:
        accepted = words(_context(info).schema)
        if value not in accepted:
            raise ValueError(f'no {kind} is called "{value}"{hint(value, accepted)}')
        return value

    return AfterValidator(check)


def _public_url(value: str) -> str:
    """Also http in production, for this machine alone: it is a name that tokens state, and nothing is sent to it."""
    normal = normalise(value)
    if normal is None:
        raise ValueError("not a plain https URL (http only for loopback; no user, query, fragment or dot segments)")
    return normal


def _url(value: str, info: ValidationInfo) -> str:
    normal = _public_url(value)
    if _context(info).production and not normal.startswith("https:"):
        raise ValueError("must be https in production")
    return normal


def _key_url(value: str, info: ValidationInfo) -> str:
    _url(value, info)
    return value  # as written: it is compared with the `jku` of the token, letter by letter


def _origin(value: str, info: ValidationInfo) -> str:
    normal = _url(value, info)
    if normal.count("/") != 2:
        raise ValueError("an origin is scheme, host and port without a path")
    return normal


def _file(value: Path, info: ValidationInfo) -> Path:
    path = _context(info).folder / value
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _key_file(value: Path, info: ValidationInfo) -> Path:
    path = _file(value, info)
    try:
        keys = read_keys(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not keys:
        raise ValueError(f"{path}: no usable public key (RSA of at least 2048 bits or EC, with a kid)")
    return path


def _coded(value: object) -> tuple[str, str]:
    system, _, code = str(value).rpartition("|")
    if not system or not code or value != str(value).strip():
        raise ValueError('a code is written "system|code"')
    return system, code


def frozen(value: Mapping[K, V]) -> Mapping[K, V]:
    return MappingProxyType(dict(value))


Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
Url = Annotated[str, AfterValidator(_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
KeyUrl = Annotated[str, AfterValidator(_key_url)]
Origin = Annotated[str, AfterValidator(_origin)]
ExistingFile = Annotated[Path, AfterValidator(_file)]
KeyFile = Annotated[Path, AfterValidator(_key_file)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(ip_network)]
Code = Annotated[tuple[str, str], BeforeValidator(_coded)]
Language = Annotated[str, _one_of(lambda schema: schema.languages, "language")]
ProfileName = Annotated[str, _one_of(lambda schema: schema.profiles, "reference profile")]
RuleId = Annotated[str, _one_of(lambda schema: schema.rules, "rule")]
ThresholdId = Annotated[str, _one_of(lambda schema: schema.thresholds, "parameter that a site may change")]
PrefetchKey = Annotated[str, _one_of(lambda _: PREFETCH_KEYS, "prefetch key")]
IngredientName = Annotated[str, _one_of(lambda schema: schema.ingredients, "ingredient")]
SystemUri = Annotated[str, Field(min_length=1)]
SystemName = Annotated[str, _one_of(lambda schema: schema.systems, "code system")]
Ingredients = Annotated[tuple[IngredientName, ...], Field(min_length=1)]
Frozen = AfterValidator(frozen)


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OrderCode:
    """How a site codes the order for one laboratory test."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    system: Annotated[str, Field(min_length=1)]
    code: Annotated[str, Field(min_length=1)]
    display: Annotated[str, Field(min_length=1)]


Orders = Annotated[Mapping[Analyte, OrderCode], Frozen]
Aliases = Annotated[Mapping[PrefetchKey, Words], Frozen]


def _dispensable(value: str) -> str:
    if value in REQUIRED_KEYS:
        raise ValueError(f"without {value} no answer is possible")
    return value


Unsent = tuple[Annotated[PrefetchKey, AfterValidator(_dispensable)], ...]


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """`[service]`: what holds for every caller."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    public_urls: tuple[PublicUrl, ...] = ()
    language: Language = "en"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    reference_profile: ProfileName = "default"
    cors_origins: tuple[Origin, ...] = ()
    accept_unknown_status: StrictBool = True
    use_id_not_hook: StrictBool = False
    silent: StrictBool = False
    deadline_ms: Annotated[int, Field(strict=True, ge=100, le=10_000)] = 2000
    max_body_bytes: Annotated[int, Field(strict=True, ge=10_000, le=50_000_000)] = 5_000_000
    rate_limit_per_minute: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1200
    rxnorm_table: ExistingFile | None = None
    ca_bundle: ExistingFile | None = None


@dataclass(frozen=True, slots=True)
class Smart:
    """`[tenant.smart]`: our app at one EHR: the FHIR servers that it opens, and how tokens of their users are proved."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    client_id: Annotated[str, Field(min_length=1)]
    iss: Annotated[tuple[Url, ...], Field(min_length=1)]
    hosts: tuple[Origin, ...] = ()  # of its authorization server, where that is another than those of `iss`
    scopes: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # in place of reading what the queries ask for
    embedded_in: tuple[Origin, ...] = ()
    introspection: Url | None = None
    introspection_client: str = ""
    introspection_secret_file: ExistingFile | None = None
    jwks: KeyUrl | None = None
    issuer: str = ""
    audience: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # in place of `iss`
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = (
        Algorithm.ES256, Algorithm.ES384, Algorithm.RS256, Algorithm.RS384,
    )  # fmt: skip

    @property
    def sources(self) -> tuple[str, ...]:
        """What a page of the app may fetch, as sources of a content security policy."""
        return (*(f"{base}/" for base in self.iss), *self.hosts)


@dataclass(frozen=True, slots=True)
class Tenant:
    """`[[tenant]]`: one caller, how it proves itself and what it may have us read."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    iss: Annotated[str, Field(min_length=1)]
    jku: tuple[KeyUrl, ...] = ()
    jwks_file: KeyFile | None = None
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = (Algorithm.ES384, Algorithm.RS384)
    audience: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    max_token_s: Annotated[int, Field(strict=True, ge=60, le=86_400)] = 3600
    replay: Replay = Replay.ENFORCE
    tenants: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    fhir_bases: tuple[Url, ...] = ()
    fhir_networks: tuple[Network, ...] = ()
    language: Language = ""  # as in [service]
    silent: StrictBool = False  # or [service] says so
    aliases: Aliases = field(default_factory=_empty)
    unsent: Unsent = ()
    orders: Orders = field(default_factory=_empty)
    smart: Smart | None = None

    def allowed(self, url: str) -> str | None:
        """The normal form of a FHIR URL that this caller may have us read, else None."""
        return allowed_url(url, self.fhir_bases, query=True)

    def smart_at(self, iss: str) -> Smart | None:
        """Our app at this FHIR server, if it may be opened there."""
        return self.smart if self.smart and normalise(iss) in self.smart.iss else None


@dataclass(frozen=True, slots=True)
class DevelopmentTenant(Tenant):
    """The caller of development mode: anyone on this machine, and FHIR servers on this machine."""

    def allowed(self, url: str) -> str | None:
        """The normal form of a URL on this machine, else None."""
        return loopback_url(url, query=True)

    def smart_at(self, iss: str) -> Smart | None:
        """Our app at a FHIR server of this machine, or of the public SMART launcher, whose patients are invented."""
        base = loopback_url(iss) or allowed_url(iss, (SMART_LAUNCHER,))
        return Smart(client_id="magnesium-cds", iss=(base,)) if base else None


@dataclass(frozen=True, slots=True)
class SiteFile:
    """The whole site file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    service: ServiceSettings = field(default_factory=ServiceSettings)
    tenant: tuple[Tenant, ...] = ()
    aliases: Aliases = field(default_factory=_empty)
    unsent: Unsent = ()
    orders: Orders = field(default_factory=_empty)
    labs: Annotated[Mapping[Code, Analyte], Frozen] = field(default_factory=_empty)
    drugs: Annotated[Mapping[Code, Ingredients], Frozen] = field(default_factory=_empty)
    systems: Annotated[Mapping[SystemUri, SystemName], Frozen] = field(default_factory=_empty)
    thresholds: Annotated[Mapping[ThresholdId, Decimal], Frozen] = field(default_factory=_empty)
    rules: Annotated[Mapping[RuleId, RuleMode], Frozen] = field(default_factory=_empty)
