"""Keyed hashes under the site's secret: what they stand for can be neither read from them nor guessed without it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

_BYTES = 16  # of a hash: 128 bits never meet by chance


@dataclass(frozen=True, slots=True)
class Secret:
    """The key, used for one kind of thing at a time, so that no hash of one kind says anything about another."""

    key: bytes = field(repr=False)

    def digest(self, kind: str, *parts: str) -> bytes:
        """HMAC-SHA-256 of a kind and its parts; parts are told apart by their lengths."""
        encoded = [part.encode("utf-8", "surrogatepass") for part in (kind, *parts)]
        return hmac.digest(self.key, b"".join(b"%d:%b" % (len(each), each) for each in encoded), "sha256")

    def pseudonym(self, kind: str, *parts: str) -> str:
        """32 hexadecimal digits of it."""
        return self.digest(kind, *parts)[:_BYTES].hex()
