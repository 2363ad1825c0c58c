"""Why a read from a FHIR server failed: a kind, which metrics count, and the sentence that people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class FailureKind(StrEnum):
    """Every way in which a read fails; the values are labels of a metric. A status of its own goes before its class."""

    NOT_UNDERSTOOD = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    GONE = "410"
    TOO_MANY_REQUESTS = "429"
    NO_CONTENT = "2xx"
    REDIRECT = "3xx"
    REFUSED_QUERY = "4xx"
    SERVER_ERROR = "5xx"
    UNKNOWN_STATUS = "???"
    TIMEOUT = "timeout"
    BUSY = "busy"
    NO_THREAD = "no-thread"
    CONNECT_TIMEOUT = "connect-timeout"
    NAME_NOT_RESOLVED = "name"
    CONNECTION_REFUSED = "refused"
    TLS = "tls"
    BROKEN = "broken"
    NOT_ALLOWED = "not-allowed"
    BAD_REQUEST = "bad-request"
    NOT_JSON = "not-json"
    TOO_LARGE = "too-large"
    NEXT_ELSEWHERE = "next-elsewhere"
    NEXT_LOOP = "next-loop"
    TOO_MANY_PAGES = "too-many-pages"


# None of these names a patient, a token, an address or a word of the answer.
FAILURE_MESSAGES: Mapping[FailureKind, str] = MappingProxyType(
    {
        FailureKind.NOT_UNDERSTOOD: "the FHIR server did not understand the query (400)",
        FailureKind.UNAUTHORIZED: "the FHIR server did not accept the access token (401)",
        FailureKind.FORBIDDEN: "the access token does not cover this query; a scope is missing (403)",
        FailureKind.NOT_FOUND: "the FHIR server knows no such resource or path (404)",
        FailureKind.GONE: "the resource was deleted on the FHIR server (410)",
        FailureKind.TOO_MANY_REQUESTS: "the FHIR server asked for fewer requests (429)",
        FailureKind.NO_CONTENT: "the FHIR server answered without content",
        FailureKind.REDIRECT: "the FHIR server redirected the request, which is not followed",
        FailureKind.REFUSED_QUERY: "the FHIR server refused the query",
        FailureKind.SERVER_ERROR: "the FHIR server had an error of its own",
        FailureKind.UNKNOWN_STATUS: "the FHIR server answered with an unknown status",
        FailureKind.TIMEOUT: "the FHIR server did not answer in time",
        FailureKind.BUSY: "the time to read it was used up by other calls of this service",
        FailureKind.NO_THREAD: "this service could not start another read",
        FailureKind.CONNECT_TIMEOUT: "no connection to the FHIR server in time",
        FailureKind.NAME_NOT_RESOLVED: "the name of the FHIR server could not be resolved",
        FailureKind.CONNECTION_REFUSED: "the FHIR server could not be reached",
        FailureKind.TLS: "no secure connection to the FHIR server (TLS)",
        FailureKind.BROKEN: "the FHIR server broke off the connection",
        FailureKind.NOT_ALLOWED: "the address is not among the allowed FHIR servers",
        FailureKind.BAD_REQUEST: "the address or the access token cannot be sent over HTTP",
        FailureKind.NOT_JSON: "the FHIR server did not answer with a JSON object",
        FailureKind.TOO_LARGE: "the FHIR server sent more data than is read",
        FailureKind.NEXT_ELSEWHERE: "the next page is on an address that is not allowed",
        FailureKind.NEXT_LOOP: "the pages of the FHIR server lead in a circle",
        FailureKind.TOO_MANY_PAGES: "the FHIR server has more pages than are read",
    }
)


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """One failed read; `status` is the HTTP status where `kind` is only its class."""

    kind: FailureKind
    status: int | None = None

    @property
    def words(self) -> str:
        """One sentence for people."""
        message = FAILURE_MESSAGES[self.kind]
        return message if self.status is None else f"{message} ({self.status})"


def of_status(status: int) -> ReadFailure:
    """What an HTTP status other than 200 means.

    >>> of_status(404).kind, of_status(503).words
    (<FailureKind.NOT_FOUND: '404'>, 'the FHIR server had an error of its own (503)')
    """
    kinds = set(FailureKind)
    if str(status) in kinds:
        return ReadFailure(FailureKind(str(status)))
    status_class = f"{status // 100}xx"
    return ReadFailure(FailureKind(status_class) if status_class in kinds else FailureKind.UNKNOWN_STATUS, status)
