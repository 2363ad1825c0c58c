"""The envelope of a hook call, read: hook, context, drafts, selections, and Epic's word for what really happened."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from service.api.http.request_body import NULL, HookRequest, as_text, string, strings
from service.cds.services import CONTEXT_TOKENS, Service
from service.errors import BadRequest, MissingData
from service.fhir.decode import MAX_ENTRIES, Resource, read_bundle
from service.logic.model import Hook

# The member of the context that holds the orders of a hook.
DRAFTS = {Hook.ORDER_SELECT: "draftOrders", Hook.ORDER_SIGN: "draftOrders", Hook.MEDICATION_REFILL: "medications"}
DRAFTS_MISSING = "not sent; check that the client's endpoint URI and its scopes for unsigned orders match"
# Epic sends most of its triggers as patient-view and names the real one here ("CDS Hooks Tutorial", fhir.epic.com).
EPIC_TRIGGER = "com.epic.cdshooks.request.bpa-trigger-action"
_EPIC_HOOKS = {"26": Hook.ENCOUNTER_START, "27": Hook.ENCOUNTER_DISCHARGE}


_PATH_SEGMENTS = {".", ".."}  # fit FHIR's rule for ids, and would lead a query elsewhere


class _Extension(msgspec.Struct):
    action: str | int | None = msgspec.field(name=EPIC_TRIGGER, default=None)


def check(request: HookRequest, service: Service, *, use_id_not_hook: bool) -> None:
    """Hook, hookInstance and context are there and are what they should be; else BadRequest."""
    hook = as_text(request.hook)
    if not hook:
        raise BadRequest("hook is required and must be a string", "$.hook")
    if hook != service.hook.value and not use_id_not_hook:
        raise BadRequest(f"this service answers the hook {service.hook.value}", "$.hook")
    if not as_text(request.hookInstance):
        raise BadRequest("hookInstance is required and must be a UUID string", "$.hookInstance")
    if request.context is None:
        raise BadRequest("context is required and must be an object", "$.context")


def context(raw: Mapping[str, msgspec.Raw], service: Service) -> dict[str, str]:
    """The string members of the context; BadRequest for a required one that is missing or of another type."""
    found = {name: value for name in CONTEXT_TOKENS if (value := string(raw, name))}
    for name, value in found.items():
        if _PATH_SEGMENTS & set(value.split("/")):
            raise BadRequest(f"{name} is a path, not an id", f"$.context.{name}")
    for name, kind in service.context.items():
        if kind is str and name not in found:
            raise BadRequest(f"{name} is required and must be a string", f"$.context.{name}")
    return found


def drafts(raw: Mapping[str, msgspec.Raw], hook: Hook) -> list[Resource]:
    """The orders of an order hook or a refill. Epic leaves them out where its set-up differs: MissingData says so."""
    member = DRAFTS.get(hook)
    if member is None:
        return []
    value = raw.get(member)
    if value is None or bytes(value) == b"null":
        if hook is Hook.MEDICATION_REFILL:
            raise BadRequest("medications is required and must be a Bundle", "$.context.medications")
        raise MissingData({member: DRAFTS_MISSING})
    sheaf = read_bundle(value, f"$.context.{member}", MAX_ENTRIES)
    if not sheaf.is_bundle:
        raise BadRequest(f"{member} must be a Bundle", f"$.context.{member}")
    return sheaf.resources


def selections(raw: Mapping[str, msgspec.Raw], hook: Hook) -> tuple[str, ...]:
    """The references that order-select selects."""
    if hook is not Hook.ORDER_SELECT:
        return ()
    listed = strings(raw.get("selections", NULL), "$.context.selections")
    if listed is None:
        raise BadRequest("selections is required and must be an array", "$.context.selections")
    return listed


def judged_as(request: HookRequest, hook: Hook) -> Hook:
    """The hook by which a call is judged: Epic's admission and discharge come as patient-view."""
    if hook is not Hook.PATIENT_VIEW:
        return hook
    try:
        trigger = msgspec.json.decode(request.extension, type=_Extension | None)
    except msgspec.MsgspecError:
        return hook
    return _EPIC_HOOKS.get(str(trigger.action), hook) if trigger else hook
