"""The SMART on FHIR app: launched from an EHR or alone, it reads the chart with its reader's token, in the browser."""

from __future__ import annotations

import flask
import msgspec

from service.api.dependencies import Dependencies
from service.api.http.error_handlers import issue, outcome
from service.api.pages.page import page
from service.cds.services import BY_ID
from service.errors import NotFound
from service.settings.site import SMART_LAUNCHER, Smart
from service.terminology.queries import QUERIES

QUERIES_OF_A_CHART = BY_ID["magnesium-patient-view"].prefetch
SCOPES = tuple(f"patient/{kind}.rs" for kind in dict.fromkeys(query.kind for query in QUERIES.values()))
THIS_MACHINE = ("http://localhost:*", "http://127.0.0.1:*", SMART_LAUNCHER)
CLOSED = "No EHR is configured for SMART here: [tenant.smart] in the site file"


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes below /smart."""
    pages = flask.Blueprint("smart", __name__, url_prefix="/smart")

    @pages.get("/launch")
    def launch() -> flask.Response:
        """Where an EHR, or a reader, opens the app."""
        return _launch(deps)

    @pages.get("/app")
    def app() -> flask.Response:
        """Where the authorization server leads back to, with a code: the chart, read and explained."""
        queries = msgspec.json.encode(dict(QUERIES_OF_A_CHART)).decode()
        return _page(_ehrs(deps), deps, data={"queries": queries})

    return pages


def _ehrs(deps: Dependencies) -> list[Smart]:
    """The EHRs at which the app may be opened; none in open development, where it is any on this machine."""
    ehrs = [tenant.smart for tenant in deps.settings.tenants if tenant.smart]
    if deps.settings.authenticates and not ehrs:
        raise NotFound(CLOSED)
    return ehrs


def _launch(deps: Dependencies) -> flask.Response:
    """With `iss`: on to its authorization server, if it is one of ours. Without: on to the only one, or a choice."""
    ehrs, iss = _ehrs(deps), flask.request.args.get("iss", "")
    bases = [base for ehr in ehrs for base in ehr.iss]
    if not iss and len(bases) != 1:
        return _page(ehrs, deps, bases=bases)
    found = deps.settings.opened_at(iss or bases[0])
    if found is None:
        return outcome(403, [issue("forbidden", "This FHIR server (iss) is not one at which the app may be opened.")])
    ehr = found[1]
    context = "launch" if "launch" in flask.request.args else "launch/patient"
    scope = " ".join((context, *(ehr.scopes or SCOPES)))
    hosts = [*map(_origin, ehr.iss), *ehr.hosts] if deps.settings.authenticates else []
    data = {"iss": iss or bases[0], "client": ehr.client_id, "scope": scope, "hosts": " ".join(hosts)}
    return _page([ehr], deps, data=data)


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _page(ehrs: list[Smart], deps: Dependencies, **shown: object) -> flask.Response:
    """A page of the app, which may speak to these EHRs and to us, and to nobody else."""
    response = page("smart.html", deps.settings.service, **shown)
    response.headers["Content-Security-Policy"] = _policy(ehrs, authenticates=deps.settings.authenticates)
    response.headers["Cache-Control"] = "no-store"
    return response


def _policy(ehrs: list[Smart], *, authenticates: bool) -> str:
    fetched = [source for ehr in ehrs for source in ehr.sources] if authenticates else THIS_MACHINE
    framed = [origin for ehr in ehrs for origin in ehr.embedded_in] or ["'none'"]
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {' '.join(fetched)}",
            "base-uri 'none'",
            "form-action 'none'",
            f"frame-ancestors {' '.join(framed)}",
        )
    )
