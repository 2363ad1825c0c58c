"""Ids of cards that prove themselves: whoever has the secret sees whose they are, before any row of them is stored.

An id is a UUID (version 4 in form) of a day, chance, and an HMAC over both with tenant and service; the ids of its
suggestions follow from it. So feedback about a card is understood at every replica from the moment the answer leaves.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from uuid import UUID

from service.store.secret import Secret

MAX_SUGGESTIONS = 20  # of one card
_EPOCH = date(2020, 1, 1)
_DAY_BITS, _CHANCE_BITS, _MAC_BITS = 16, 44, 62  # and 6 bits by which a UUID tells its version and variant
_CHANCE = Random()  # noqa: S311  unique, not secret: asking the kernel each time costs more than writing the card


class CardIds:
    """Gives and recognises ids under one secret."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def new(self, tenant: str, service: str, day: date) -> str:
        """An id for a card that is answered to this tenant by this service on this day."""
        since = (day - _EPOCH).days & (1 << _DAY_BITS) - 1
        return self._card(tenant, service, since << _CHANCE_BITS | _CHANCE.getrandbits(_CHANCE_BITS))

    def issued_on(self, card: str, tenant: str, service: str) -> date | None:
        """The day of a card that was answered to this tenant by this service; None for any other id."""
        try:
            number = UUID(card).int
        except ValueError:
            return None
        front = number >> 80 << 12 | number >> 64 & 0xFFF
        if str(UUID(int=number)) != card or self._card(tenant, service, front) != card:
            return None
        return _EPOCH + timedelta(days=front >> _CHANCE_BITS)

    def suggestion(self, card: str, number: int) -> str:
        """The id of a card's suggestion, from 0 on."""
        digest = self._secret.digest("suggestion", card, str(number))
        return str(UUID(bytes=digest[:16], version=4))

    def suggestions(self, card: str) -> frozenset[str]:
        """The ids that the suggestions of a card may have."""
        return frozenset(self.suggestion(card, number) for number in range(MAX_SUGGESTIONS))

    def _card(self, tenant: str, service: str, front: int) -> str:
        digest = self._secret.digest("card", tenant, service, str(front))
        mac = int.from_bytes(digest[:8], "big") >> 64 - _MAC_BITS
        return str(UUID(int=front >> 12 << 80 | (front & 0xFFF) << 64 | mac, version=4))
