"""The settings: the sole reader of the environment and of the site file, which reports every problem at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.errors import SettingsError
from service.logic.model import Analyte
from service.net.urls import is_loopback
from service.settings import file as site_file
from service.settings.site import (
    SANDBOX,
    DevelopmentTenant,
    RuleMode,
    ServiceSettings,
    SiteFile,
    SiteSchema,
    Smart,
    Tenant,
    frozen,
    hint,
)


class Mode(StrEnum):
    """Development: this machine only, no proof of the caller needed. Production: everything proved and stated."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured. Each tenant is complete: the site's language, aliases and orders are merged in."""

    mode: Mode
    host: str
    port: int
    database_url: str = field(repr=False)
    secret: str = field(repr=False)  # the key of what is kept under keyed hashes; "" for none
    log_level: str
    web_threads: int
    traces: bool  # sent to a collector; how, the OpenTelemetry SDK reads from its own variables
    service: ServiceSettings
    tenants: tuple[Tenant, ...]
    development_tenant: Tenant  # who calls when callers need not prove themselves
    labs: Mapping[tuple[str, str], Analyte]  # by system and code
    drugs: Mapping[tuple[str, str], tuple[str, ...]]  # by system and code: names of ingredients
    systems: Mapping[str, str]  # a local system's URI: the name of the standard system whose codes it holds
    thresholds: Mapping[str, Decimal]  # those that the site changed
    rules: Mapping[str, RuleMode]  # those that the site mentions

    @property
    def authenticates(self) -> bool:
        """Must callers prove who they are? Always in production; in development where the site file names tenants."""
        return self.mode is Mode.PRODUCTION or bool(self.tenants)

    def opened_at(self, iss: str) -> tuple[Tenant, Smart] | None:
        """Whose FHIR server this is, and our app there; None where it may not be opened."""
        tenants = self.tenants if self.authenticates else (self.development_tenant,)
        return next(((tenant, smart) for tenant in tenants if (smart := tenant.smart_at(iss))), None)

    def rules_in(self, mode: RuleMode) -> frozenset[str]:
        """The rules that the site has put into this mode."""
        return frozenset(rule for rule, chosen in self.rules.items() if chosen is mode)


_EMPTY_SCHEMA = SiteSchema()


def load(environ: Mapping[str, str], schema: SiteSchema = _EMPTY_SCHEMA) -> Settings:
    """Read the environment and the site file it names; SettingsError with every problem, each with its place.

    `schema` says which parameters, rules, ingredients, profiles and languages a site file may speak of.
    """
    problems: list[str] = []
    mode = _mode(environ, problems)
    path = Path(environ[SITE]) if environ.get(SITE) else None
    site, wrong = site_file.read(path, schema, production=mode is Mode.PRODUCTION) if path else (SiteFile(), [])
    if path is None and mode is Mode.PRODUCTION:
        wrong = [f"{SITE}: production needs a site file"]
    settings = _settings(environ, mode, site, problems)
    if problems or wrong:
        raise SettingsError([*problems, *wrong])
    return settings


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────

COLLECTOR = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOL = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
MODE, SITE, LOG_LEVEL = "MAGNESIUM_CDS_MODE", "MAGNESIUM_CDS_SITE", "MAGNESIUM_CDS_LOG_LEVEL"
SECRET, SECRET_FILE = "MAGNESIUM_CDS_SECRET", "MAGNESIUM_CDS_SECRET_FILE"
OURS = (MODE, SITE, LOG_LEVEL, SECRET, SECRET_FILE)
SHORTEST_SECRET = 32  # characters


def _mode(environ: Mapping[str, str], problems: list[str]) -> Mode:
    misspelt = sorted(name for name in environ if name.startswith("MAGNESIUM_CDS_") and name not in OURS)
    problems += [f"{name}: unknown{hint(name, OURS)}" for name in misspelt]
    return Mode(_choice(environ, MODE, tuple(Mode), problems))


def _settings(environ: Mapping[str, str], mode: Mode, site: SiteFile, problems: list[str]) -> Settings:
    port = _number(environ, "PORT", 8000, 65_535, problems)
    return Settings(
        mode=mode,
        host=_host(environ, mode, problems),
        port=port,
        database_url=_database_url(environ, mode, problems),
        secret=_secret(environ, problems),
        log_level=_choice(environ, LOG_LEVEL, ("INFO", "DEBUG", "WARNING", "ERROR"), problems),
        web_threads=_number(environ, "WEB_THREADS", 128, 512, problems),
        traces=_traces(environ, problems),
        service=site.service if mode is Mode.PRODUCTION else _reachable(site.service, port),
        tenants=tuple(_complete(tenant, site) for tenant in site.tenant),
        development_tenant=_complete(DevelopmentTenant(name="development", iss="development"), site),
        labs=site.labs,
        drugs=site.drugs,
        systems=site.systems,
        thresholds=site.thresholds,
        rules=site.rules,
    )


def _host(environ: Mapping[str, str], mode: Mode, problems: list[str]) -> str:
    host = environ.get("HOST") or "127.0.0.1"
    if mode is Mode.DEVELOPMENT and not is_loopback(host):
        problems.append(f"HOST: {host} is beyond this machine, which development mode does not serve: it proves nobody")
    return host


def _choice(environ: Mapping[str, str], name: str, words: tuple[str, ...], problems: list[str]) -> str:
    """One of `words`, of which the first is the default."""
    value = environ.get(name) or words[0]
    if value not in words:
        problems.append(f'{name}: "{value}" is none of {", ".join(dict.fromkeys(words))}{hint(value, words)}')
        return words[0]
    return value


def _number(environ: Mapping[str, str], name: str, default: int, most: int, problems: list[str]) -> int:
    value = environ.get(name) or str(default)
    if re.fullmatch(r"[0-9]{1,9}", value) and 1 <= int(value) <= most:
        return int(value)
    problems.append(f"{name}: must be a whole number from 1 to {most}")
    return default


def _database_url(environ: Mapping[str, str], mode: Mode, problems: list[str]) -> str:
    """DATABASE_URL, or the content of DATABASE_URL_FILE; never quoted in a problem, since it may hold a password."""
    url, file = environ.get("DATABASE_URL", ""), environ.get("DATABASE_URL_FILE", "")
    if url and file:
        problems.append("DATABASE_URL: DATABASE_URL_FILE is set too; only one of them can be meant")
    if file and not (url := _first_line(Path(file))):
        problems.append("DATABASE_URL_FILE: cannot be read or is empty")
    if not url and not file and mode is Mode.PRODUCTION:
        problems.append("DATABASE_URL: production needs it (or DATABASE_URL_FILE) to be set")
    if url and not re.match(r"(sqlite:///|postgres(ql(\+psycopg)?)?://)", url):
        problems.append("DATABASE_URL: must begin with sqlite:/// or postgresql://")
    elif url.startswith(("sqlite:///file:", "sqlite:///:memory:")):
        problems.append("DATABASE_URL: sqlite:/// takes the path of a file, no URI and no memory")
    elif url and mode is Mode.PRODUCTION:
        problems += _in_clear_text(url, environ)
    return url or "sqlite:///var/magnesium-cds.sqlite3"


def _secret(environ: Mapping[str, str], problems: list[str]) -> str:
    """MAGNESIUM_CDS_SECRET or the first line of the file; never quoted in a problem."""
    secret, file = environ.get(SECRET, ""), environ.get(SECRET_FILE, "")
    if secret and file:
        problems.append(f"{SECRET}: {SECRET_FILE} is set too; only one of them can be meant")
    if file and not (secret := _first_line(Path(file))):
        problems.append(f"{SECRET_FILE}: cannot be read or is empty")
    elif secret and len(secret) < SHORTEST_SECRET:
        name = SECRET_FILE if file else SECRET
        problems.append(f"{name}: must have {SHORTEST_SECRET} characters or more, such as `openssl rand -hex 32` gives")
    return secret


def _in_clear_text(url: str, environ: Mapping[str, str]) -> list[str]:
    """A problem where PostgreSQL's default would send passwords and rows in clear text without a word."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return ["DATABASE_URL: cannot be read; what is special in a password is written as %40, %2F …"]
    said = parts.query.get("host") or parts.query.get("hostaddr") or environ.get("PGHOST") or ""
    host = parts.host or (said if isinstance(said, str) else said[0])
    here = not host or host.startswith("/") or is_loopback(host)
    if parts.drivername.startswith("sqlite") or here or "sslmode" in parts.query or environ.get("PGSSLMODE"):
        return []
    return ["DATABASE_URL: production needs sslmode to be stated: verify-full (with sslrootcert), or less by choice"]


def _traces(environ: Mapping[str, str], problems: list[str]) -> bool:
    """Is a collector of traces named, in the standard variables of OpenTelemetry, and not switched off there?"""
    name = next((name for name in COLLECTOR if environ.get(name)), None)
    exporter = _choice(environ, "OTEL_TRACES_EXPORTER", ("otlp", "none"), problems) if name else "none"
    if name is None or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    protocol = next((name for name in PROTOCOL if environ.get(name)), PROTOCOL[-1])
    _choice(environ, protocol, ("http/protobuf",), problems)
    if not environ[name].startswith(("http://", "https://")):
        problems.append(f"{name}: must begin with http:// or https://")
    return True


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _reachable(service: ServiceSettings, port: int) -> ServiceSettings:
    """What development needs with no site file at all: its own address as audience, and the public sandbox's pages."""
    here = (f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    return replace(service, public_urls=service.public_urls or here, cors_origins=service.cors_origins or (SANDBOX,))


def _complete(tenant: Tenant, site: SiteFile) -> Tenant:
    return replace(
        tenant,
        language=tenant.language or site.service.language,
        aliases=frozen({**site.aliases, **tenant.aliases}),
        unsent=tuple(dict.fromkeys((*site.unsent, *tenant.unsent))),
        orders=frozen({**site.orders, **tenant.orders}),
    )
