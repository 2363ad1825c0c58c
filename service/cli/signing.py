"""The key of a test client: made, kept in a file that only its owner reads, and used to sign the tokens of calls."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from click import ClickException
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, RSAKey

ALGORITHMS = ("ES384", "RS384")
_RSA_BITS = 3072
_PUBLIC = ("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e")
LIFE_S = 300
"""Of a token: what CDS Hooks 2.0 recommends ("Trusting CDS Clients")."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the issuer in whose name it signs."""

    key: ECKey | RSAKey
    algorithm: str
    iss: str

    def public(self) -> bytes:
        """The JWK Set with the public half."""
        members = self.key.as_dict(private=False)
        return msgspec.json.format(msgspec.json.encode({"keys": [{n: members[n] for n in _PUBLIC if n in members}]}))

    def sign(self, aud: str, *, seconds: int = LIFE_S, **more: str) -> str:
        """A token for the endpoint at the URL `aud`, good once within `seconds`; further claims unless empty."""
        now = int(time.time())
        claims = {"iss": self.iss, "aud": aud, "iat": now, "exp": now + seconds, "jti": str(uuid4())}
        header = {"alg": self.algorithm, "kid": self.key.kid, "typ": "JWT"}
        said = claims | {name: value for name, value in more.items() if value}
        return jwt.encode(header, said, self.key, algorithms=[self.algorithm])


def make(file: Path, iss: str, algorithm: str) -> SigningKey:
    """A new key pair, its private half written to `file`, which must not exist yet and only its owner may read."""
    about: KeyParameters = {"use": "sig", "alg": algorithm}
    key = (
        ECKey.generate_key("P-384", about, auto_kid=True)
        if algorithm.startswith("ES")
        else RSAKey.generate_key(_RSA_BITS, about, auto_kid=True)
    )
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(msgspec.json.encode(key.as_dict(private=True) | {"iss": iss}))
    except OSError as error:
        raise ClickException(f"{file}: {error.strerror}; no key was made") from error
    return SigningKey(key, algorithm, iss)


def read(file: Path, iss: str = "") -> SigningKey:
    """The private key in a file written by `make`, or in another private JWK with `kid` and `alg`; then `iss` is needed."""
    try:
        members = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        key = jwk.import_key(members)
        is_private = isinstance(key, ECKey | RSAKey) and key.is_private
    except (OSError, msgspec.MsgspecError, JoseError, ValueError, KeyError, TypeError) as error:
        raise ClickException(f"{file}: no private key as a JWK can be read ({type(error).__name__})") from error
    issuer = iss or str(members.get("iss") or "")
    if not isinstance(key, ECKey | RSAKey) or not is_private or not key.kid or not members.get("alg"):
        raise ClickException(f"{file}: not a private EC or RSA key (JWK) with kid and alg")
    if not issuer:
        raise ClickException(f"{file}: does not say in whose name it signs; --iss does")
    return SigningKey(key, str(members["alg"]), issuer)
