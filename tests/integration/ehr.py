"""An EHR as a SMART app meets it: an authorization server (PKCE, introspection, keys) before a real FHIR server.

Everything is a real request: the FHIR part checks the token that was issued and passes on to the FHIR server of the
integration tests; nothing of the app under test is known here but its client id and its redirect URI.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import requests
from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT, SECRET = "magnesium-cds", "the-secret-of-introspection"
KEY = ECKey.generate_key("P-256", {"kid": "ehr-1"})
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Authorization, Accept, Content-Type"}


@dataclass
class Ehr:
    """What the authorization server knows and what it was asked."""

    upstream: str
    upstream_token: str
    origin: str = ""
    redirects: set[str] = field(default_factory=set)  # registered redirect URIs
    launches: dict[str, dict[str, Any]] = field(default_factory=dict)  # launch -> launch context
    standalone: dict[str, Any] = field(default_factory=dict)  # the context of whoever chooses a patient here
    refused: set[str] = field(default_factory=set)  # FHIR types for which a scope is missing
    pages: bool = True  # further pages of a search can be had
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: str = ""  # another place that it claims to authorize at
    seen: list[str] = field(default_factory=list)  # method and path of every request, with its query

    @property
    def base(self) -> str:
        return f"{self.origin}/fhir"

    def issue(self, client: str = CLIENT, lives: float = 300) -> str:
        """A token of a user, without the flow."""
        token = secrets.token_urlsafe(24)
        self.tokens[token] = {"client_id": client, "exp": time.time() + lives, "scope": "launch patient/*.rs"}
        return token

    def signed(self, **claims: Any) -> str:
        """A token that is a JWT."""
        at = int(time.time())
        said = {"iss": self.origin, "aud": self.base, "client_id": CLIENT, "iat": at, "exp": at + 300} | claims
        return jwt.encode({"alg": "ES256", "kid": "ehr-1", "typ": "at+jwt"}, said, KEY, algorithms=["ES256"])


@contextmanager
def an_ehr(upstream: str, upstream_token: str) -> Iterator[Ehr]:
    """An EHR on a free port of this machine."""
    ehr = Ehr(upstream, upstream_token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"ehr": ehr}))
    ehr.origin = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ehr
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    ehr: Ehr

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_OPTIONS(self) -> None:
        self._send(204, b"")

    def do_GET(self) -> None:
        self.ehr.seen.append(f"GET {self.path}")
        parts = urlsplit(self.path)
        if parts.path == "/fhir/.well-known/smart-configuration":
            return self._json(200, self._configuration())
        if parts.path == "/auth/jwks":
            return self._json(200, {"keys": [KEY.as_dict(private=False)]})
        if parts.path == "/auth/authorize":
            return self._authorize({name: values[0] for name, values in parse_qs(parts.query).items()})
        if parts.path.startswith("/fhir/"):
            return self._fhir()
        return self._json(404, {"error": "not found"})

    def do_POST(self) -> None:
        self.ehr.seen.append(f"POST {self.path}")
        length = int(self.headers.get("Content-Length", 0))
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        if self.path == "/auth/token":
            return self._token(form)
        if self.path == "/auth/introspect":
            return self._introspect(form)
        return self._json(404, {"error": "not found"})

    def _configuration(self) -> dict[str, Any]:
        origin = self.ehr.origin
        return {
            "issuer": origin,
            "authorization_endpoint": f"{self.ehr.endpoints or origin}/auth/authorize",
            "token_endpoint": f"{origin}/auth/token",
            "introspection_endpoint": f"{origin}/auth/introspect",
            "jwks_uri": f"{origin}/auth/jwks",
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code"],
            "capabilities": ["launch-ehr", "launch-standalone", "client-public", "permission-v2"],
        }

    def _authorize(self, asked: dict[str, str]) -> None:
        """A user who is logged in and agrees: back with a code, at once."""
        ehr = self.ehr
        known = asked.get("client_id") == CLIENT and asked.get("redirect_uri") in ehr.redirects
        if not known or asked.get("aud", "").rstrip("/") != ehr.base or asked.get("code_challenge_method") != "S256":
            return self._json(400, {"error": "invalid_request"})
        if "launch" in asked and asked["launch"] not in ehr.launches:
            return self._json(400, {"error": "invalid launch"})
        code = secrets.token_urlsafe(16)
        ehr.codes[code] = asked
        self.send_response(302)
        self.send_header("Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
        self.end_headers()
        return None

    def _token(self, form: dict[str, str]) -> None:
        asked = self.ehr.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proved = asked and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        if not asked or not proved or form.get("redirect_uri") != asked["redirect_uri"]:
            return self._json(400, {"error": "invalid_grant"})
        context = self.ehr.launches[asked["launch"]] if "launch" in asked else self.ehr.standalone
        answer = {"access_token": self.ehr.issue(), "token_type": "Bearer", "expires_in": 300, "scope": asked["scope"]}
        return self._json(200, answer | context)

    def _introspect(self, form: dict[str, str]) -> None:
        basic = base64.b64encode(f"introspector:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {basic}":
            return self._json(401, {"error": "invalid_client"})
        known = self.ehr.tokens.get(form.get("token", ""))
        alive = known and known["exp"] > time.time()
        return self._json(200, {"active": True, **known} if known and alive else {"active": False})

    def _fhir(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = self.ehr.tokens.get(token)
        if not known or known["exp"] <= time.time():
            return self._json(401, {"resourceType": "OperationOutcome", "issue": []})
        kind = self.path.removeprefix("/fhir/").split("?")[0].split("/")[0]
        if kind in self.ehr.refused or ("_offset=" in self.path and not self.ehr.pages):
            return self._json(403, {"resourceType": "OperationOutcome", "issue": []})
        headers = {"Authorization": f"Bearer {self.ehr.upstream_token}"}
        found = requests.get(self.ehr.upstream + self.path.removeprefix("/fhir"), headers=headers, timeout=10)
        body = found.content.replace(self.ehr.upstream.encode(), self.ehr.base.encode())
        return self._send(found.status_code, body, "application/fhir+json")

    def _json(self, status: int, body: object) -> None:
        self._send(status, msgspec.json.encode(body), "application/json")

    def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        for name, value in {**CORS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
