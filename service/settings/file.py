"""Reads the site file and words every problem with it, by file, line and key, all at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from service.settings import lines as toml_lines
from service.settings.site import (
    SANDBOX,
    Bounds,
    Context,
    OrderCode,
    ServiceSettings,
    SiteFile,
    SiteSchema,
    Smart,
    Tenant,
    hint,
)

_SITE: TypeAdapter[SiteFile] = TypeAdapter(SiteFile)
_SECTIONS: Mapping[toml_lines.Path, Any] = MappingProxyType(
    {
        (): SiteFile,
        ("service",): ServiceSettings,
        ("tenant",): Tenant,
        ("orders",): OrderCode,
        ("tenant", "orders"): OrderCode,
        ("tenant", "smart"): Smart,
    }
)
_Problem = tuple[toml_lines.Path, str]


def read(path: Path, schema: SiteSchema, *, production: bool) -> tuple[SiteFile, list[str]]:
    """The site file, or an empty one and every problem that keeps it from being used."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text, parse_float=Decimal)
    except (OSError, UnicodeDecodeError) as error:
        return SiteFile(), [f"{path}: cannot be read ({type(error).__name__})"]
    except tomllib.TOMLDecodeError as error:
        return SiteFile(), [_syntax(path, str(error))]
    site, found = _validated(content, Context(production, path.parent, schema))
    lines = toml_lines.key_lines(text)
    found.sort(key=lambda problem: toml_lines.line_of(lines, problem[0]) or 0)
    return site, [_located(path, lines, *problem) for problem in found]


def _validated(content: dict[str, Any], context: Context) -> tuple[SiteFile, list[_Problem]]:
    found = list(cross_field_checks(content, context))
    try:
        return _SITE.validate_python(content, context=context), found
    except ValidationError as error:
        return SiteFile(), [*found, *map(_worded, _innermost(error.errors(include_url=False, include_input=False)))]


def _innermost(errors: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Without those that only follow from others: a list whose one element is wrong is not also too short."""
    for error in errors:
        where = error["loc"]
        if not any(other["loc"][: len(where)] == where and len(other["loc"]) > len(where) for other in errors):
            yield error


def _syntax(path: Path, message: str) -> str:
    place = re.search(r" \(at line (\d+), column \d+\)", message)
    return f"{path}:{place[1]}: {message.replace(place[0], '')}" if place else f"{path}: {message}"


def _located(path: Path, lines: Mapping[toml_lines.Path, int], where: toml_lines.Path, reason: str) -> str:
    line = toml_lines.line_of(lines, where)
    place = f"{path}:{line}" if line else f"{path}"
    name = ".".join(str(part) for part in where if not isinstance(part, int))
    return f"{place}: {name}: {reason}" if name else f"{place}: {reason}"


def _worded(error: ErrorDetails) -> _Problem:
    where = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "unexpected_keyword_argument":
        section = _SECTIONS.get(_section(where[:-1]))
        return where, "unknown key" + hint(str(where[-1]), [item.name for item in fields(section)] if section else [])
    if error["type"] == "missing":
        return where, "is required"
    reason = error["msg"].removeprefix("Value error, ")
    return where, reason[0].lower() + reason[1:]


def _section(where: toml_lines.Path) -> toml_lines.Path:
    """The path without indices, and without the name of the test under `orders`."""
    names = tuple(part for part in where if not isinstance(part, int))
    return names[:-1] if names[-2:-1] == ("orders",) else names


def cross_field_checks(content: dict[str, Any], context: Context) -> Iterator[_Problem]:
    """What no single value shows; reads the raw file, so that it is said together with everything else."""
    tenants = _tables(content.get("tenant"))
    if context.production:
        yield from _half_configured(content, tenants)
    for index, tenant in enumerate(tenants):
        if not tenant.get("jku") and not tenant.get("jwks_file"):
            yield ("tenant", index), "needs jku or jwks_file: without keys nobody can prove to be this caller"
        yield from _unproved(index, tenant.get("smart"))
    yield from duplicate_tenants(tenants)
    yield from _opened_twice(tenants)
    yield from _out_of_bounds(content.get("thresholds"), context.schema.thresholds)


def _unproved(index: int, smart: object) -> Iterator[_Problem]:
    """How the tokens of an EHR's users are verified has to be stated, and in one way."""
    if not isinstance(smart, dict):
        return
    where = ("tenant", index, "smart")
    if bool(smart.get("introspection")) == bool(smart.get("jwks")):
        yield where, "needs introspection or jwks, not both: by one of them tokens of its users are verified"
    elif smart.get("introspection") and not (
        smart.get("introspection_client") and smart.get("introspection_secret_file")
    ):
        yield where, "introspection needs introspection_client and introspection_secret_file"
    elif smart.get("jwks") and not smart.get("issuer"):
        yield where, "jwks needs issuer: the iss of its tokens"


def _opened_twice(tenants: list[dict[str, Any]]) -> Iterator[_Problem]:
    """A FHIR server belongs to one tenant: by it the tokens of its users are verified."""
    seen: set[str] = set()
    for index, tenant in enumerate(tenants):
        smart = tenant.get("smart")
        bases = smart.get("iss") if isinstance(smart, dict) else ()
        for base in {str(base).rstrip("/") for base in bases} if isinstance(bases, list) else set():
            if base in seen:
                yield ("tenant", index, "smart", "iss"), f"{base} is opened by another tenant"
            seen.add(base)


def _half_configured(content: dict[str, Any], tenants: list[dict[str, Any]]) -> Iterator[_Problem]:
    service = content.get("service")
    if not isinstance(service, dict) or not service.get("public_urls"):
        yield ("service", "public_urls"), "production needs the URLs under which callers reach the service"
    if not tenants:
        yield ("tenant",), "production needs at least one tenant: nobody could call"
    for index, tenant in enumerate(tenants):
        if tenant.get("iss") == SANDBOX:
            yield ("tenant", index, "iss"), "the private key of this issuer is public; not in production"


def duplicate_tenants(tenants: list[dict[str, Any]]) -> Iterator[_Problem]:
    """Names are unique; one `iss` may serve several tenants only if their lists of tenant claims tell them apart."""
    for index, tenant in enumerate(tenants):
        for other in tenants[:index]:
            if tenant.get("name") is not None and tenant.get("name") == other.get("name"):
                yield ("tenant", index, "name"), "another tenant has this name"
            if tenant.get("iss") is not None and tenant.get("iss") == other.get("iss") and _overlap(tenant, other):
                yield ("tenant", index, "iss"), "another tenant has this iss, and tenants does not tell them apart"


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    mine, theirs = one.get("tenants"), other.get("tenants")
    if not isinstance(mine, list) or not isinstance(theirs, list) or not mine or not theirs:
        return True
    return any(claim in theirs for claim in mine)


def _out_of_bounds(thresholds: object, bounds: Mapping[str, Bounds]) -> Iterator[_Problem]:
    for name, value in thresholds.items() if isinstance(thresholds, dict) else ():
        allowed = bounds.get(name)
        if (
            allowed
            and isinstance(value, int | Decimal)
            and Decimal(value).is_finite()
            and not allowed.low <= value <= allowed.high
        ):
            yield ("thresholds", name), f"{value} is outside {allowed.low} to {allowed.high}"


def _tables(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
