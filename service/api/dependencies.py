"""What the views are given: settings, clock, store, FHIR reader, keys. Made once per process by `app.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Semaphore

from service.api.auth.tokens import Caller
from service.api.http.concurrency import FairSemaphore
from service.fhir.client import FhirReader
from service.fhir.snapshot import Site
from service.net.urls import Network
from service.settings import Settings
from service.settings.site import RuleMode
from service.store.store import Store


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The parts that a view needs."""

    settings: Settings
    site: Site
    clock: Callable[[], datetime]
    readers: Mapping[tuple[Network, ...], FhirReader]  # by the networks to which a tenant's FHIR servers are held
    store: Store
    authenticate: Callable[[str | None, str, datetime], Caller]
    authenticate_reader: Callable[[str | None, str, datetime], Caller]  # by a token of the EHR at a FHIR base URL
    gate: FairSemaphore = field(default_factory=FairSemaphore)
    batch: Semaphore = field(default_factory=Semaphore)  # of one: the batch that is being answered
    fhir_servers: set[str] = field(default_factory=set)  # in development: those that have said what they are

    def mode(self, rule: str) -> str:
        """What the site made of a rule: `on`, `silent`, `off` or `reference`."""
        return self.settings.rules.get(rule, RuleMode.ON).value

    def close(self) -> None:
        """Store what waits, and let go of connections: at the end of a serving process."""
        self.store.close()
        for reader in self.readers.values():
            reader.close()
