"""What an EHR sends and what it may get back: bodies, tokens, calls, and the check that no card is wrong."""

from __future__ import annotations

import http.client
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from soak.certificates import HERE
from soak.chart import ENCOUNTER, MARK, VIEW, Json, answer, queries

PUBLIC = "https://cds.soak.example"
HOOK = f"/cds-services/{VIEW}"
FEEDBACK = f"{HOOK}/feedback"
PATIENCE = 15.0  # s after which a call is given up: far beyond every bound
LACKING = "Could not be read, so not judged"  # the card's words for data that were not there
_AGE = re.compile(r"\d+ (min|h) ago")
OLD_KEY = ECKey.generate_key("P-384", {"kid": "old"})
NEW_KEY = ECKey.generate_key("P-384", {"kid": "new"})


def key_set(*keys: ECKey) -> bytes:
    """The public halves as a JWK Set."""
    return msgspec.json.encode({"keys": [key.as_dict(private=False) for key in keys]})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is 0 if nothing did, `words` then says how it failed."""

    status: int
    seconds: float
    body: Any = None
    words: str = ""
    began: float = 0.0  # of time.monotonic()

    def bare(self) -> Answer:
        """Without the body: to be kept, for as long as a soak may last."""
        return replace(self, body=None)


def send(
    port: int, path: str, body: bytes, token: str, kept: http.client.HTTPConnection | None = None, trace: str = ""
) -> Answer:
    """POST a body; over the connection `kept`, if given, else over one of its own."""
    began = time.monotonic()
    wire = kept or http.client.HTTPConnection(HERE, port, timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    if trace:
        headers["X-Request-Id"] = trace
    try:
        wire.request("POST", path, body, headers)
        got = wire.getresponse()
        words = got.read()
        return Answer(got.status, time.monotonic() - began, decoded(words), "", began)
    except (OSError, http.client.HTTPException) as error:
        wire.close()
        return Answer(0, time.monotonic() - began, None, type(error).__name__, began)
    finally:
        if kept is None:
            wire.close()


def decoded(words: bytes) -> Any:
    """JSON; None if it is none."""
    try:
        return msgspec.json.decode(words)
    except msgspec.DecodeError:
        return None


@dataclass
class Ledger:
    """What the service has promised: cards that were shown, feedback that it acknowledged. Safe for threads."""

    cards: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    unreported: deque[str] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def shown(self, found: Answer) -> Answer:
        """Note the cards of an answer."""
        with self._lock:
            shown = [str(card.get("uuid")) for card in cards_of(found)]
            self.cards.update(shown)
            self.unreported.extend(shown)
        return found

    def to_report(self) -> str:
        """A card of which nothing was reported; some other id where there is none: then only the answer counts."""
        with self._lock:
            return self.unreported.popleft() if self.unreported else str(uuid4())

    def acknowledged(self, card: str, *, accepted: bool) -> None:
        """Note that feedback to this card was accepted, or that it has still to be reported."""
        with self._lock:
            if card in self.cards and accepted:
                self.feedback.add(card)
            elif card in self.cards:
                self.unreported.append(card)

    def missing(self, url: str) -> tuple[int, int]:
        """How many cards, and how many acknowledged feedback items, the database at `url` does not hold."""
        with self._lock:
            cards, feedback = set(self.cards), set(self.feedback)
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        with engine.connect() as connection:
            cards.difference_update(connection.scalars(text("SELECT uuid FROM cards")))
            feedback.difference_update(connection.scalars(text("SELECT card FROM feedback")))
        return len(cards), len(feedback)

    def await_stored(self, url: str, seconds: float) -> tuple[int, int]:
        """As `missing`, once nothing is or the time is over."""
        until = time.monotonic() + seconds
        while any(found := self.missing(url)) and time.monotonic() < until:
            time.sleep(0.1)
        return found


@dataclass
class Ehr:
    """A caller: signs its tokens, names the FHIR server at `fhir`, and knows the card that its patients must get."""

    issuer: str
    fhir: str
    chart: list[Json]
    ledger: Ledger
    jku: str = ""
    right: Any = None  # the content of the card for this chart, learnt while all is well

    def token(self, path: str = HOOK, key: ECKey = OLD_KEY) -> str:
        """A token for one call."""
        now = int(time.time())
        said = {"iss": self.issuer, "aud": PUBLIC + path, "iat": now, "exp": now + 300, "jti": str(uuid4())}
        header = {"alg": "ES384", "kid": key.kid, "typ": "JWT"} | ({"jku": self.jku} if self.jku else {})
        return jwt.encode(header, said, key, algorithms=["ES384"])

    def body(self, sent: str) -> bytes:
        """A hook request for a new patient; `sent`: what comes as prefetch, "all", "half" (who, magnesium), "none"."""
        patient = f"{MARK}-{secrets.token_hex(8)}"
        context = {"userId": f"Practitioner/{MARK}", "patientId": patient, "encounterId": ENCOUNTER}
        access = {"access_token": f"{MARK}-{secrets.token_hex(8)}", "token_type": "Bearer", "expires_in": 300}
        said = {
            "hook": "patient-view", "hookInstance": str(uuid4()), "context": context,
            "fhirServer": self.fhir, "fhirAuthorization": {**access, "scope": "patient/*.rs", "subject": MARK},
        }  # fmt: skip
        wanted = {"all": None, "half": {"patient", "magnesium"}, "none": set[str]()}[sent]
        prefetch = {
            key: msgspec.Raw(answer(self.chart, query))
            for key, query in queries(patient).items()
            if wanted is None or key in wanted
        }
        return msgspec.json.encode(said | ({"prefetch": prefetch} if prefetch else {}))

    def call(self, port: int, sent: str, key: ECKey = OLD_KEY, **more: Any) -> Answer:
        """A hook call with a fresh token."""
        return self.ledger.shown(send(port, HOOK, self.body(sent), self.token(key=key), **more))

    def feedback(self, port: int, **more: Any) -> Answer:
        """Feedback to a card, with a fresh token; noted if it was acknowledged."""
        card, now = self.ledger.to_report(), datetime.now(UTC).isoformat()
        item = {"card": card, "outcome": "overridden", "outcomeTimestamp": now}
        found = send(port, FEEDBACK, msgspec.json.encode({"feedback": [item]}), self.token(FEEDBACK), **more)
        self.ledger.acknowledged(card, accepted=found.status == 200)
        return found

    def learn(self, port: int) -> None:
        """Learn the right card; the way over the FHIR server must lead to the same one. Raises SystemExit if not."""
        first, second = self.call(port, "all"), self.call(port, "none")
        if first.status != 200 or not cards_of(first) or content(first) != content(second) or LACKING in detail(first):
            found = [(each.status or each.words, content(each)) for each in (first, second)]
            raise SystemExit(f"the service is not well before any fault; with and without prefetch: {found}")
        self.right = content(first)

    def fault_of(self, found: Answer, allowed: Iterable[int] = (), *, lacking: bool = False) -> str:
        """Why this answer to a hook call must not be; "" if it is right or, if `lacking`, says what it lacks.

        Never raises, whatever was answered.
        """
        if found.status in allowed:
            return "" if _is_outcome(found) else f"{found.status} without an OperationOutcome"
        if found.status != 200:
            return f"answered {found.status or found.words}"
        if content(found) == self.right and LACKING not in detail(found):
            return ""
        if lacking and LACKING in detail(found):
            return ""
        if not cards_of(found):
            return "WRONG CARD: no card at all"
        return (
            "data were said to lack" if LACKING in detail(found) else "WRONG CARD: other content, nothing said to lack"
        )


def cards_of(found: Answer) -> list[Json]:
    """The cards of an answer; none if any of them is no object."""
    cards = found.body.get("cards") if isinstance(found.body, dict) else None
    return cards if isinstance(cards, list) and all(isinstance(card, dict) for card in cards) else []


def content(found: Answer) -> Any:
    """What the cards say, without what differs from call to call: their ids, and how old a result is by now."""
    return [
        (_AGE.sub("", str(card.get("summary"))), card.get("indicator"), _findings(card)) for card in cards_of(found)
    ]


def _findings(card: Json) -> Any:
    extension = card.get("extension")
    return extension.get("org.magnesium-cds.findings") if isinstance(extension, dict) else None


def detail(found: Answer) -> str:
    """All the words of the cards."""
    return "\n".join(str(card.get("detail", "")) for card in cards_of(found))


def statuses(answers: Iterable[Answer]) -> str:
    """The different statuses, or the words of what came in place of one; "–" if there are no answers."""
    return " ".join(sorted({str(each.status or each.words) for each in answers})) or "–"


def slowest(answers: Sequence[Answer]) -> str:
    """Milliseconds of the slowest; "–" if there are none."""
    return f"{1000 * max(each.seconds for each in answers):.0f}" if answers else "–"


def _is_outcome(found: Answer) -> bool:
    return isinstance(found.body, dict) and found.body.get("resourceType") == "OperationOutcome"
