"""Traces by OTLP/HTTP to the site's collector: a span for each call and each of its stages, and no word of a request.

The only module that imports OpenTelemetry, and itself imported only where a collector is named. Where the collector is,
what is sampled and how long is waited for it, the SDK reads from its own variables (OTEL_...).
"""

from __future__ import annotations

from threading import Event, Thread
from time import time_ns

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__
from service.logic.knowledge import VERSION
from service.observability.timing import Stopwatch, TraceContext

FLUSH_SECONDS = 2.0


class Tracing:
    """A queue of spans that a thread of its own sends: a full queue forgets spans, and no call waits for it.

    Raises ValueError, RuntimeError or ImportError for variables that the SDK refuses.
    """

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=_session())))
        self._tracer = self._provider.get_tracer("magnesium-cds", __version__)
        # The SDK takes up to 30 s to end, so it ends in a thread; one that waits, since none can be started at exit.
        self._ending = Event()
        self._ender = Thread(target=self._end, name="traces-end", daemon=True)
        self._ender.start()

    def begin(self, method: str, route: str, service: str, hook: str, sent: TraceContext | None) -> CallSpan:
        """The span of a call, which continues the caller's trace if one was sent; "" for a call that is of no hook."""
        said = {"http.request.method": method, "http.route": route, "magnesium_cds.service": service}
        if hook:
            said["magnesium_cds.hook"] = hook
        started = time_ns()
        kind = trace.SpanKind.SERVER
        span = self._tracer.start_span(f"{method} {route}", _below(sent), kind, said, start_time=started)
        return CallSpan(self._tracer, span, started)

    def close(self) -> None:
        """Send what waits, and wait for that no longer than `FLUSH_SECONDS`."""
        self._ending.set()
        self._ender.join(FLUSH_SECONDS)

    def _end(self) -> None:
        self._ending.wait()
        self._provider.shutdown()


class CallSpan:
    """The span of a call under way. Exceptions are not recorded: their messages may quote a patient."""

    __slots__ = ("_span", "_started", "_tracer", "place")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, started: int) -> None:
        self._tracer, self._span, self._started = tracer, span, started
        own = span.get_span_context()
        self.place = TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", own.trace_flags.sampled)

    def end(self, status: int, watch: Stopwatch) -> None:
        """End it with its HTTP status, and add the stages as the watch took their times."""
        if not self._span.is_recording():
            return
        context = trace.set_span_in_context(self._span, Context())
        for stage, began, ended in watch.blocks:
            span = self._tracer.start_span(stage, context, start_time=self._at(began - watch.started))
            span.end(self._at(ended - watch.started))
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end(self._at(watch.total()))

    def _at(self, seconds: float) -> int:
        return self._started + int(seconds * 1e9)


def _below(sent: TraceContext | None) -> Context:
    """The caller's place in the SDK's words. Its `tracestate` and baggage go no further: they may say anything."""
    if sent is None:
        return Context()
    flags = trace.TraceFlags(sent.sampled)
    place = trace.SpanContext(int(sent.trace_id, 16), int(sent.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(place), Context())


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, with our name and versions where they do not."""
    ours = Resource({SERVICE_VERSION: __version__, "magnesium_cds.knowledge": VERSION})
    found = ours.merge(Resource.create())
    unnamed = str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found.merge(Resource({SERVICE_NAME: "magnesium-cds"})) if unnamed else found


def _session() -> requests.Session:
    """A session that never reads the body of an answer, however long or slow it is: the status says all."""
    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(lambda response, **_: response.close())
    return session
