"""What the repeat guard remembers of a user and a patient, and how: keyed hashes, and no more than it compares.

Patient and user are hashed separately, each with the tenant, so that one patient can be forgotten. The facts of a
situation (a drug, a closed gate) are hashed with the patient: they can be compared, not read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b
from threading import Lock
from time import monotonic

import msgspec
from sqlalchemy import Connection, delete, select

from service.errors import StoreUnavailable
from service.logic.model import Indicator
from service.logic.repeat_guard import Key, Sighting, Situation
from service.store.on_the_way import Pair, Row, utc
from service.store.secret import Secret
from service.store.tables import SIGHTINGS

NO_SECRET = "no secret is set (MAGNESIUM_CDS_SECRET or MAGNESIUM_CDS_SECRET_FILE)"  # noqa: S105  words
NO_ANSWER = "the store does not answer"
LATELY = 60.0  # s for which this process knows what it has shown before the database does
MOST_RECENT = 5_000  # pairs of user and patient
PAUSE = 5.0  # s after a failure in which the database is not asked, so that no card waits for it again


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding that stands on a card: what is remembered of it, and until when."""

    key: Key
    sighting: Sighting
    expires: datetime


class RepeatMemory:
    """Asks and tells the database what was shown to whom. Without a secret, or while it fails, it is off."""

    def __init__(
        self,
        secret: Secret | None,
        ask: Callable[[Pair], list[Row]],
        tell: Callable[[Sequence[Row]], None],
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`ask` gives the rows of a pair or raises StoreUnavailable; `tell` has rows stored soon."""
        self._secret, self._ask, self._tell, self._seconds = secret, ask, tell, seconds
        self._recent = _Recent(seconds)
        self._off_until = float("-inf")

    @property
    def keyed(self) -> bool:
        """Is there a secret?"""
        return self._secret is not None

    @property
    def off(self) -> str:
        """Why nothing is held back at present, "" if the guard works."""
        if self._secret is None:
            return NO_SECRET
        return NO_ANSWER if self._seconds() < self._off_until else ""

    def pair(self, tenant: str, patient: str, user: str) -> Pair:
        """The hashes under which a user's looks at a patient are kept."""
        return self.hash("patient", tenant, patient), self.hash("user", tenant, user)

    def hash(self, kind: str, *parts: str) -> str:
        """A keyed hash; only with a secret."""
        assert self._secret is not None  # noqa: S101  the caller has looked at `off`
        return self._secret.pseudonym(kind, *parts)

    def veiled(self, situation: Situation, pair: Pair) -> Situation:
        """The situation with its facts as keyed hashes; the key is of this patient alone."""
        assert self._secret is not None  # noqa: S101  as in `hash`
        keyed = partial(blake2b, digest_size=6, key=self._secret.digest("fact", pair[0]))
        encoded = (fact.encode("utf-8", "surrogatepass") for fact in situation.facts)
        return replace(situation, facts=frozenset(keyed(fact).hexdigest() for fact in encoded))

    def recall(self, pair: Pair) -> Mapping[Key, Sighting] | None:
        """What this user was shown of this patient; None if that cannot be known now."""
        try:
            stored = {(row["rule"], row["result"]): _sighting(row) for row in self._ask(pair)}
        except StoreUnavailable:
            self._off_until = self._seconds() + PAUSE
            return None
        for key, sighting in self._recent.of(pair).items():
            if key not in stored or stored[key].shown_at < sighting.shown_at:
                stored[key] = sighting
        return stored

    def remember(self, pair: Pair, card: str, shown: Iterable[Shown]) -> None:
        """What a card says was shown; kept at once in this process, and soon in the database."""
        said = list(shown)
        self._recent.add(pair, {each.key: each.sighting for each in said})
        hashed, state = (
            self.hash("card", card),
            lru_cache(maxsize=1)(_state),
        )  # of all findings of a card it is the same
        self._tell([_row(pair, hashed, each, state(each.sighting.situation)) for each in said])


class _Recent:
    """What this process showed within the last minute."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds, self._lock = seconds, Lock()
        self._pairs: OrderedDict[Pair, tuple[float, Mapping[Key, Sighting]]] = OrderedDict()

    def add(self, pair: Pair, shown: Mapping[Key, Sighting]) -> None:
        with self._lock:
            _, before = self._pairs.pop(pair, (0.0, {}))
            self._pairs[pair] = self._seconds(), {**before, **shown}
            while self._pairs and (len(self._pairs) > MOST_RECENT or self._is_old(next(iter(self._pairs)))):
                self._pairs.popitem(last=False)

    def of(self, pair: Pair) -> Mapping[Key, Sighting]:
        with self._lock:
            return self._pairs[pair][1] if pair in self._pairs and not self._is_old(pair) else {}

    def _is_old(self, pair: Pair) -> bool:
        return self._seconds() - self._pairs[pair][0] > LATELY


# ---- rows -----------------------------------------------------------------------------------------------------------


class _State(msgspec.Struct, frozen=True):
    mg: Decimal | None
    side: int
    tier: int
    facts: list[str]


def _state(now: Situation) -> str:
    return msgspec.json.encode(_State(now.mg, now.side, now.tier, sorted(now.facts))).decode()


def _row(pair: Pair, card: str, shown: Shown, state: str) -> Row:
    seen = shown.sighting
    return {
        "patient": pair[0],
        "reader": pair[1],
        "rule": shown.key[0],
        "result": shown.key[1],
        "level": seen.level.value,
        "shown_at": seen.shown_at.astimezone(UTC),
        "newest_result_at": seen.newest and seen.newest.astimezone(UTC),
        "overridden_at": None,
        "expires_at": shown.expires.astimezone(UTC),
        "card": card,
        "state": state,
    }


def _sighting(row: Row) -> Sighting:
    state = msgspec.json.decode(row["state"], type=_State)
    situation = Situation(state.mg, state.side, state.tier, frozenset(state.facts))
    shown, newest, overridden = (utc(row[name]) for name in ("shown_at", "newest_result_at", "overridden_at"))
    assert shown is not None  # noqa: S101  the column is never empty
    return Sighting(Indicator(row["level"]), shown, situation, newest, overridden)


def override(connection: Connection, cards: Mapping[str, datetime]) -> None:
    """The findings of these cards (hashes) were overridden at these times: they are kept for their interval again."""
    wanted = select(SIGHTINGS).where(SIGHTINGS.c.card.in_(sorted(cards))).order_by(*SIGHTINGS.primary_key)
    for row in connection.execute(wanted).mappings().all():
        at, shown = cards[row["card"]], utc(row["shown_at"])
        before = utc(row["overridden_at"])
        if before is not None and before >= at:
            continue
        expires = max(timedelta(), at - (shown or at)) + (utc(row["expires_at"]) or at)
        own = [column == row[column.name] for column in SIGHTINGS.primary_key]
        connection.execute(SIGHTINGS.update().where(*own).values(overridden_at=at, expires_at=expires))


def forget(connection: Connection, secret: Secret, tenant: str, *, patient: str = "", user: str = "") -> int:
    """Delete what is kept of one patient or of one user; the number of findings."""
    column, kind, ident = (
        (SIGHTINGS.c.patient, "patient", patient.removeprefix("Patient/"))
        if patient
        else (SIGHTINGS.c.reader, "user", user)
    )
    return connection.execute(delete(SIGHTINGS).where(column == secret.pseudonym(kind, tenant, ident))).rowcount


def forget_all(connection: Connection) -> int:
    """Delete everything that the guard knows; the number of findings."""
    return connection.execute(delete(SIGHTINGS)).rowcount
