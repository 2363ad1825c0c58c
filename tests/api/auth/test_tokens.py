"""Client authentication, with real keys and a real key server: who gets in, and that nobody else does."""

import gzip
import hmac
import socket
import threading
import time
import zlib
from base64 import urlsafe_b64encode
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from structlog.testing import capture_logs
from urllib3.exceptions import HTTPError

from service.api.auth.jwks_cache import (
    AGAIN_S,
    GIVEN_UP_S,
    MOST_WAITING,
    RETRY_S,
    STALE_S,
    UNKNOWN_S,
    KeyCache,
    fetcher,
)
from service.api.auth.tokens import authenticate
from service.errors import StoreUnavailable, Unauthorised
from service.net.outbound import session
from service.observability.logging import digest
from service.settings import load
from service.settings.site import Algorithm, Replay, Tenant
from service.store.database import upgrade
from service.store.store import Store
from service.token_checks import LEEWAY_S

NOW = datetime(2025, 6, 15, 10, 0, tzinfo=UTC)
BASE = "https://cds.hospital.example/mg"
PATH = "/cds-services/magnesium-patient-view"

EC384 = ECKey.generate_key("P-384", {"kid": "ec/1+="})
EC256 = ECKey.generate_key("P-256", {"kid": "ec256"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = ECKey.generate_key("P-384", {"kid": "ec/1+="})
FOR_ENCRYPTION = ECKey.generate_key("P-384", {"kid": "enc", "use": "enc"})
FOR_PS384 = RSAKey.generate_key(2048, {"kid": "ps", "alg": "PS384"})
NEXT = ECKey.generate_key("P-384", {"kid": "next"})


def key_set(*keys):
    return msgspec.json.encode({"keys": [key.as_dict(private=False) for key in keys]})


class KeyServer:
    """A JWKS host: answers what `answers` says for a path, counts the requests, and can be slow."""

    def __init__(self):
        self.answers, self.requests = {}, Counter()
        self.delay, self.piece, self.pause = 0.0, 1_000_000, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests[self.path] += 1
                time.sleep(outer.delay)
                status, headers, body = outer.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(body), outer.piece):
                    self.wfile.write(body[start : start + outer.piece])
                    time.sleep(outer.pause)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                """A caller that hangs up is what some of these tests want."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, path, *keys):
        self.answers[path] = (200, {"Content-Type": "application/json"}, key_set(*keys))


@pytest.fixture
def host():
    server = KeyServer()
    server.serve("/a", EC384, RSA, EC256, FOR_ENCRYPTION, FOR_PS384)
    server.serve("/b", STRANGER)
    yield server
    server.server.shutdown()
    server.server.server_close()


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


class Gate:
    """The whole of authentication, ready to be knocked at."""

    def __init__(self, host):
        self.host, self.clock = host, Clock()
        self.tenant = Tenant("a", "https://a.example", (f"{host.url}/a",))
        self.other = Tenant("b", "https://b.example", (f"{host.url}/b",))
        self.seen = set()
        self.out = session(loopback=True)
        self.keys = KeyCache(fetcher(self.out), self.clock)

    def remember(self, issuer, jti, forget_at, _strict):
        assert forget_at > NOW
        first = (issuer, jti) not in self.seen
        self.seen.add((issuer, jti))
        return first

    def settings(self):
        plain = load({})
        service = replace(plain.service, public_urls=(BASE,))
        return replace(plain, service=service, tenants=(self.tenant, self.other))

    def knock(self, authorization, path=PATH, now=NOW, remember=None):
        return authenticate(authorization, path, now, self.settings(), self.keys, remember or self.remember)

    def find(self, kid):
        return self.keys.find(self.tenant.jku, kid)

    def claims(self, **changes):
        stamp = int(NOW.timestamp())
        claims = {"iss": self.tenant.iss, "aud": BASE + PATH, "exp": stamp + 300, "iat": stamp, "jti": "j-1"}
        return {name: value for name, value in {**claims, **changes}.items() if value is not ...}

    def header(self, **changes):
        header = {"alg": "ES384", "kid": EC384.kid, "typ": "JWT", "jku": f"{self.host.url}/a"}
        return {name: value for name, value in {**header, **changes}.items() if value is not ...}

    def token(self, key=EC384, header=None, claims=None):
        registry = jws.JWSRegistry(algorithms=list(Algorithm), strict_check_header=False)
        registry.max_header_length = 100_000
        header, claims = self.header(**(header or {})), self.claims(**(claims or {}))
        return "Bearer " + jws.serialize_compact(header, msgspec.json.encode(claims), key, registry=registry)


@pytest.fixture
def gate(host):
    gate = Gate(host)
    yield gate
    gate.out.close()


def refused(gate, authorization, **where):
    """The reason, after checking that it and its causes say nothing of the token."""
    with pytest.raises(Unauthorised) as error:
        gate.knock(authorization, **where)
    assert type(error.value) is Unauthorised
    assert error.value.__cause__ is None
    for part in (authorization or "").split(" ")[-1].split("."):
        assert len(part) < 6 or part not in str(error.value)
    return str(error.value)


# ── who gets in ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_caller_is_its_tenant(gate):
    caller = gate.knock(gate.token())
    assert (caller.name, caller.tenant) == ("a", gate.tenant)


stamp = int(NOW.timestamp())
ACCEPTED = {
    "bearer in small letters": lambda g: g.token().replace("Bearer", "bearer"),
    "bearer in capitals": lambda g: g.token().replace("Bearer", "BEARER"),
    "RS384": lambda g: g.token(RSA, {"alg": "RS384", "kid": "rsa"}),
    "no jku": lambda g: g.token(header={"jku": ...}),
    "typ in small letters": lambda g: g.token(header={"typ": "jwt"}),
    "a harmless header": lambda g: g.token(header={"x5t": "abc", "vendor": "x"}),
    "a long kid": lambda g: g.token(header={"vendor": "k" * 1000}),
    "aud with a trailing slash": lambda g: g.token(claims={"aud": BASE + PATH + "/"}),
    "aud with a doubled slash": lambda g: g.token(claims={"aud": BASE + "//cds-services//magnesium-patient-view"}),
    "aud in an array": lambda g: g.token(claims={"aud": ["x", BASE + PATH]}),
    "nbf in the past": lambda g: g.token(claims={"nbf": stamp - 300}),
    "times with fractions": lambda g: g.token(claims={"iat": stamp + 0.5, "exp": stamp + 100.25}),
    "sub and more": lambda g: g.token(claims={"sub": "client", "vendor": {"a": [1]}}),
    "expired within the leeway": lambda g: g.token(claims={"exp": stamp - LEEWAY_S + 5, "iat": stamp - 200}),
    "issued within the leeway": lambda g: g.token(claims={"iat": stamp + LEEWAY_S - 5}),
    "a tenant nobody asked for": lambda g: g.token(claims={"tenant": "t"}),
    "a jti of 128 characters": lambda g: g.token(claims={"jti": "~" * 128}),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_what_real_clients_send_is_accepted(gate, make):
    assert gate.knock(make(gate)).name == "a"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_each_algorithm_is_accepted_where_it_is_configured_and_only_there(gate, algorithm):
    curve = {"256": "P-256", "384": "P-384", "512": "P-521"}[algorithm[2:]]
    key = ECKey.generate_key(curve, {"kid": "x"}) if algorithm.startswith("E") else RSA
    gate.host.serve("/a", ECKey.import_key({**key.as_dict(), "kid": "x"}) if key is not RSA else RSA)
    token = gate.token(key, {"alg": str(algorithm), "kid": key.kid})
    gate.tenant = replace(gate.tenant, algorithms=tuple(item for item in Algorithm if item is not algorithm))
    assert "alg" in refused(gate, token)
    gate.tenant = replace(gate.tenant, algorithms=(algorithm,))
    assert gate.knock(token).name == "a"


def test_feedback_may_name_itself_or_its_service(gate):
    for number, aud in enumerate((BASE + PATH + "/feedback", BASE + PATH)):
        token = gate.token(claims={"aud": aud, "jti": str(number)})
        assert gate.knock(token, path=PATH + "/feedback").name == "a"
    assert "aud" in refused(gate, gate.token(claims={"aud": BASE + PATH + "/feedback"}))


def test_an_audience_of_the_site_is_accepted_from_that_tenant_alone(gate):
    gate.tenant = replace(gate.tenant, audience=("sand_man",))
    assert gate.knock(gate.token(claims={"aud": "sand_man"})).name == "a"
    assert "aud" in refused(gate, gate.token(STRANGER, {"jku": ...}, {"aud": "sand_man", "iss": gate.other.iss}))


def test_tenant_claims_tell_tenants_of_one_issuer_apart(gate):
    gate.other = replace(gate.tenant, name="second", tenants=("t2",))
    gate.tenant = replace(gate.tenant, tenants=("t1",))
    assert gate.knock(gate.token(claims={"tenant": "t1", "jti": "1"})).name == "a"
    assert gate.knock(gate.token(claims={"tenant": "t2", "jti": "2"})).name == "second"
    assert "tenant" in refused(gate, gate.token(claims={"tenant": "t3", "jti": "3"}))
    assert "tenant" in refused(gate, gate.token(claims={"jti": "4"}))


def test_a_longer_life_is_accepted_where_it_is_configured(gate):
    day = {"exp": stamp + 86_400}
    assert "longer" in refused(gate, gate.token(claims=day))
    gate.tenant = replace(gate.tenant, max_token_s=86_400)
    assert gate.knock(gate.token(claims=day)).name == "a"


def test_keys_agreed_beforehand_need_no_request(gate, tmp_path):
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(EC384))
    gate.tenant = replace(gate.tenant, jku=(), jwks_file=file)
    assert gate.knock(gate.token(header={"jku": ...})).name == "a"
    assert "jku" in refused(gate, gate.token(claims={"jti": "2"}))
    assert not gate.host.requests


def test_development_without_tenants_asks_for_nothing():
    settings = load({})
    caller = authenticate(None, PATH, NOW, settings, KeyCache(lambda _: b""), lambda *_: False)
    assert caller.name == "development"
    assert caller.tenant.allowed("http://localhost:9/fhir")
    assert not caller.tenant.allowed("https://ehr.example/fhir")


# ── who does not ─────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(part):
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(header, claims, sign):
    """A token whose signature is whatever `sign` makes of the signed text."""
    text = encode(msgspec.json.encode(header)) + "." + encode(msgspec.json.encode(claims))
    return f"Bearer {text}.{encode(sign(text.encode()))}"


def unsigned(gate):
    return by_hand(gate.header(alg="none"), gate.claims(), lambda _: b"0")


def with_public_key_as_secret(gate, algorithm, key):
    pem = key.as_pem(private=False)
    sign = lambda text: hmac.digest(pem, text, "sha256")  # noqa: E731
    return by_hand(gate.header(alg=algorithm, kid=key.kid), gate.claims(), sign)


def tampered(gate, part, change):
    pieces = gate.token().split(" ")[1].split(".")
    pieces[part] = change(pieces[part])
    return "Bearer " + ".".join(pieces)


def flip(text):
    return ("B" if text[0] == "A" else "A") + text[1:]


FORGED = {
    "the token alone": (lambda g: g.token().split(" ")[1], "bearer"),
    "two tokens": (lambda g: g.token() + ", " + g.token(), "bearer"),
    "two parts": (lambda g: g.token().rpartition(".")[0], "bearer"),
    "four parts": (lambda g: g.token() + ".AAAA", "bearer"),
    "no signature": (lambda g: g.token().rpartition(".")[0] + ".", "bearer"),
    "letters outside base64url": (lambda g: tampered(g, 1, lambda part: "é" + part), "bearer"),
    "too long": (lambda g: g.token(claims={"x": "a" * 16_000}), "bearer"),
    "a header too long": (lambda g: g.token(header={"x": "a" * 4000}), "cannot be read"),
    "a header that is a list": (lambda g: tampered(g, 0, lambda _: encode(b'["alg","b64"]')), "cannot be read"),
    "a header nested deeply": (lambda g: tampered(g, 0, lambda _: encode(b"[" * 3000)), "cannot be read"),
    "claims nested deeply": (lambda g: tampered(g, 1, lambda _: encode(b'{"x":' * 2400)), "cannot be read"),
    "claims that are a list": (lambda g: tampered(g, 1, lambda _: encode(b"[1]")), "cannot be read"),
    "claims that are not UTF-8": (lambda g: tampered(g, 1, lambda _: encode(b'{"iss":"\xff"}')), "cannot be read"),
    "none": (unsigned, "alg"),
    "HS256 with the public RSA key": (lambda g: with_public_key_as_secret(g, "HS256", RSA), "alg"),
    "HS256 with the public EC key": (lambda g: with_public_key_as_secret(g, "HS256", EC384), "alg"),
    "RS384 claimed, HS256 made": (lambda g: with_public_key_as_secret(g, "RS384", RSA), "signature"),
    "an algorithm not enabled": (lambda g: g.token(RSA, {"alg": "RS256", "kid": "rsa"}), "alg"),
    "the key of another curve": (lambda g: g.token(EC384, {"kid": "ec256"}), "signature"),
    "the key of another type": (lambda g: g.token(EC384, {"kid": "rsa"}), "signature"),
    "a key for encryption": (lambda g: g.token(FOR_ENCRYPTION_SIGNING, {"kid": "enc"}), "no such key"),
    "a key for another algorithm": (lambda g: g.token(FOR_PS384_SIGNING, {"alg": "RS384", "kid": "ps"}), "signature"),
    "a key nobody knows": (lambda g: g.token(NEXT, {"kid": "next"}), "no such key"),
    "another issuer's key": (lambda g: g.token(STRANGER), "signature"),
    "another issuer's jku": (lambda g: g.token(STRANGER, {"jku": g.other.jku[0]}), "jku"),
    "a jku that begins like ours": (lambda g: g.token(header={"jku": g.tenant.jku[0] + "/../b"}), "jku"),
    "an unknown issuer": (lambda g: g.token(claims={"iss": "https://c.example"}), "iss"),
    "an embedded key": (lambda g: g.token(STRANGER, {"jwk": STRANGER.as_dict(private=False)}), "header"),
    "x5u": (lambda g: g.token(header={"x5u": "https://evil.test/c"}), "header"),
    "x5c": (lambda g: g.token(header={"x5c": ["AAAA"]}), "header"),
    "b64": (lambda g: g.token(header={"b64": True}), "header"),
    "no kid": (lambda g: g.token(header={"kid": ...}), "lacks"),
    "an empty kid": (lambda g: g.token(header={"kid": ""}), "lacks"),
    "no typ": (lambda g: g.token(header={"typ": ...}), "lacks"),
    "another typ": (lambda g: g.token(header={"typ": "at+jwt"}), "typ"),
    "no iss": (lambda g: g.token(claims={"iss": ...}), "lacks"),
    "no aud": (lambda g: g.token(claims={"aud": ...}), "lacks"),
    "no exp": (lambda g: g.token(claims={"exp": ...}), "lacks"),
    "no iat": (lambda g: g.token(claims={"iat": ...}), "lacks"),
    "no jti": (lambda g: g.token(claims={"jti": ...}), "lacks"),
    "expired": (lambda g: g.token(claims={"exp": stamp - LEEWAY_S, "iat": stamp - 200}), "expired"),
    "nbf to come": (lambda g: g.token(claims={"nbf": stamp + 3600}), "yet"),
    "iat to come": (lambda g: g.token(claims={"iat": stamp + 600, "exp": stamp + 900}), "yet"),
    "ten years": (lambda g: g.token(claims={"exp": stamp + 315_000_000}), "longer"),
    "ends before it begins": (lambda g: g.token(claims={"iat": stamp + 30, "exp": stamp + 20}), "longer"),
    "exp in words": (lambda g: g.token(claims={"exp": str(stamp + 300)}), "lacks"),
    "exp true": (lambda g: g.token(claims={"exp": True}), "lacks"),
    "exp null": (lambda g: g.token(claims={"exp": None}), "lacks"),
    "exp beyond numbers": (lambda g: g.token(claims={"exp": 10**300}), "longer"),
    "nbf in words": (lambda g: g.token(claims={"nbf": "now"}), "lacks"),
    "an empty jti": (lambda g: g.token(claims={"jti": ""}), "lacks"),
    "a jti with a null": (lambda g: g.token(claims={"jti": "a\0b"}), "jti"),
    "a jti that is a number": (lambda g: g.token(claims={"jti": 7}), "lacks"),
    "a jti without end": (lambda g: g.token(claims={"jti": "a" * 2000}), "lacks"),
    "aud of another service": (lambda g: g.token(claims={"aud": BASE + "/cds-services/magnesium-order-sign"}), "aud"),
    "aud of another host": (lambda g: g.token(claims={"aud": "https://evil.test/mg" + PATH}), "aud"),
    "aud of the base": (lambda g: g.token(claims={"aud": BASE}), "aud"),
    "aud in another case": (lambda g: g.token(claims={"aud": (BASE + PATH).upper()}), "aud"),
    "aud empty": (lambda g: g.token(claims={"aud": []}), "aud"),
    "aud with an empty word": (lambda g: g.token(claims={"aud": ""}), "aud"),
    "aud of mixed kinds": (lambda g: g.token(claims={"aud": [BASE + PATH, 7]}), "lacks"),
    "a signature changed": (lambda g: tampered(g, 2, flip), "signature"),
    "a signature of noughts": (lambda g: tampered(g, 2, lambda part: "A" * len(part)), "signature"),
    "a signature too short": (lambda g: tampered(g, 2, lambda part: part[:40]), "signature"),
}  # fmt: skip
FOR_ENCRYPTION_SIGNING = ECKey.import_key(
    {k: v for k, v in FOR_ENCRYPTION.as_dict(private=True).items() if k not in {"use", "key_ops"}}
)
FOR_PS384_SIGNING = RSAKey.import_key({k: v for k, v in FOR_PS384.as_dict(private=True).items() if k != "alg"})


NO_TOKENS = [None, "", "null", "Bearer null", "Bearer ", "Bearer", "Basic dXNlcjpwYXNz", "Bearer ..", "Bearer AA.AA.AA"]


@pytest.mark.parametrize("authorization", NO_TOKENS)
def test_what_is_no_token_is_refused(gate, authorization):
    refused(gate, authorization)
    assert not gate.host.requests


@pytest.mark.parametrize(("make", "reason"), FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused_and_never_remembered(gate, make, reason):
    assert reason in refused(gate, make(gate))
    assert not gate.seen


def test_changed_claims_do_not_pass_under_the_old_signature(gate):
    claims = encode(msgspec.json.encode(gate.claims(jti="another")))
    assert "signature" in refused(gate, tampered(gate, 1, lambda _: claims))


def test_a_changed_header_does_not_pass_under_the_old_signature(gate):
    header = encode(msgspec.json.encode(gate.header(jku=...)))
    assert "signature" in refused(gate, tampered(gate, 0, lambda _: header))


def test_crit_is_refused(gate):
    header = encode(msgspec.json.encode(gate.header(crit=["exp"], exp=1)))
    assert "header" in refused(gate, tampered(gate, 0, lambda _: header))


@pytest.mark.parametrize("jku", ["http://127.0.0.1:{port}/evil", "http://127.0.0.1:{port}/b", "https://evil.test/a"])
def test_a_jku_of_no_site_is_never_called(gate, jku):
    gate.host.serve("/evil", STRANGER)
    token = gate.token(STRANGER, {"jku": jku.format(port=gate.host.server.server_port)})
    assert "jku" in refused(gate, token)
    assert not gate.host.requests


def test_a_spoofed_host_gains_nothing_because_only_configured_urls_count(gate):
    assert "aud" in refused(gate, gate.token(claims={"aud": "http://127.0.0.1:8000" + PATH}))


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_good_once(gate):
    token = gate.token()
    assert gate.knock(token)
    assert "before" in refused(gate, token)


def test_the_same_jti_of_another_issuer_is_another_token(gate):
    assert gate.knock(gate.token())
    assert gate.knock(gate.token(STRANGER, {"jku": ...}, {"iss": gate.other.iss})).name == "b"


def test_where_replay_is_reported_the_token_passes_and_the_log_says_so(gate):
    gate.tenant = replace(gate.tenant, replay=Replay.REPORT)
    token = gate.token()
    gate.knock(token)
    with capture_logs() as logs:
        assert gate.knock(token).name == "a"
    assert logs == [{"event": "token_seen_before", "tenant": "a", "jti": digest("j-1"), "log_level": "warning"}]


def test_a_token_is_remembered_for_as_long_as_it_would_be_accepted(gate):
    moments = []
    gate.knock(gate.token(), remember=lambda *call: bool(moments.append(call)) or True)
    assert moments == [(gate.tenant.iss, "j-1", NOW + timedelta(seconds=300 + LEEWAY_S), False)]


@pytest.fixture
def stores(tmp_path):
    """Makes stores as replicas have them, each with its own memory, on whatever database."""
    made, faults = [], []

    def make(url=f"sqlite:///{tmp_path}/store.sqlite3"):
        made.append(Store(url, clock=lambda: NOW, on_fault=faults.append))
        return made[-1]

    make.faults = faults
    upgrade(f"sqlite:///{tmp_path}/store.sqlite3")
    yield make
    for store in made:
        store.close(0.1)


def through(store):
    return lambda issuer, jti, forget_at, strict: not store.seen_jti(issuer, jti, forget_at, NOW, strict=strict)


def test_a_token_used_at_another_replica_is_known_through_the_store(gate, stores):
    token = gate.token()
    assert gate.knock(token, remember=through(stores())).name == "a"
    assert "before" in refused(gate, token, remember=through(stores()))
    assert stores.faults == []


def test_where_the_site_is_strict_a_silent_store_lets_nobody_in_and_the_token_may_be_tried_again(gate, stores):
    gate.tenant = replace(gate.tenant, replay=Replay.STRICT)
    with silence() as port, capture_logs():
        remember, token = through(stores(f"postgresql://u:p@127.0.0.1:{port}/mg")), gate.token()
        for _ in range(2):
            begin = time.monotonic()
            with pytest.raises(StoreUnavailable):
                gate.knock(token, remember=remember)
            assert time.monotonic() - begin < 0.5
    assert gate.knock(token, remember=through(stores())).name == "a"
    assert "before" in refused(gate, token, remember=through(stores()))


def test_a_silent_store_costs_nobody_a_card_is_reported_and_the_process_remembers(gate, stores):
    with silence() as port, capture_logs():
        remember, token = through(stores(f"postgresql://u:p@127.0.0.1:{port}/mg")), gate.token()
        begin = time.monotonic()
        assert gate.knock(token, remember=remember).name == "a"
        assert time.monotonic() - begin < 1
        assert "jti" in stores.faults
        assert "before" in refused(gate, token, remember=remember)


@contextmanager
def silence():
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_parallel(count, work):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def eventually(holds, seconds=10.0):
    """Does it come to hold?"""
    until = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(0.02)
    return held


@contextmanager
def within(seconds):
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


def test_keys_are_fetched_once_and_kept(gate):
    for number in range(5):
        gate.knock(gate.token(claims={"jti": str(number)}))
    assert gate.host.requests == {"/a": 1}


DOWN = (503, {}, b"")


@pytest.mark.parametrize("answer", [(200, {}, b'{"keys":[]}'), (404, {}, b""), (410, {}, b""), (403, {}, b"")])
def test_keys_are_withdrawn_by_an_empty_set_and_by_a_host_that_knows_of_none(gate, answer):
    gate.knock(gate.token())
    gate.host.answers["/a"] = answer
    gate.clock.now += 601
    with capture_logs() as logs:
        gate.find(EC384.kid)
        assert eventually(lambda: not gate.find(EC384.kid))
        assert "no such key" in refused(gate, gate.token(claims={"jti": "2"}))
    assert logs[0]["event"] == "keys_withdrawn"
    gate.host.serve("/a", EC384)
    gate.clock.now += UNKNOWN_S
    assert gate.knock(gate.token(claims={"jti": "3"})).name == "a"


@pytest.mark.parametrize("answer", [DOWN, (500, {}, b""), (429, {}, b""), (200, {}, b"<html>"), (200, {}, b"")])
def test_keys_are_kept_while_their_host_says_nothing_of_them(gate, answer):
    gate.knock(gate.token())
    gate.host.answers["/a"] = answer
    gate.clock.now += 601
    with capture_logs() as logs:
        assert gate.find(EC384.kid)
        assert eventually(lambda: logs)
        assert gate.knock(gate.token(claims={"jti": "2"})).name == "a"
    assert {line["event"] for line in logs} == {"keys_unavailable"}


def test_the_unknown_kids_of_a_stranger_delay_no_rotation(gate):
    gate.knock(gate.token())
    for number in range(20):
        gate.clock.now += UNKNOWN_S
        refused(gate, gate.token(header={"kid": f"k{number}"}))
    gate.host.serve("/a", NEXT)
    gate.clock.now += UNKNOWN_S
    assert gate.knock(gate.token(NEXT, {"kid": "next"}, {"jti": "2"})).name == "a"


def test_a_rotated_key_works_at_the_next_call(gate):
    gate.knock(gate.token())
    gate.host.serve("/a", EC384, NEXT)
    gate.clock.now += RETRY_S
    assert gate.knock(gate.token(NEXT, {"kid": "next"}, {"jti": "2"})).name == "a"
    assert gate.host.requests == {"/a": 2}


def test_a_rotated_key_under_the_old_kid_works_at_the_next_call(gate):
    gate.knock(gate.token())
    gate.host.serve("/a", STRANGER)
    gate.clock.now += RETRY_S
    assert gate.knock(gate.token(STRANGER, claims={"jti": "2"})).name == "a"
    assert "signature" in refused(gate, gate.token(claims={"jti": "3"}))
    assert gate.host.requests == {"/a": 2}


def test_a_hundred_forged_signatures_cost_one_fetch(gate):
    gate.knock(gate.token())
    gate.clock.now += RETRY_S
    for number in range(100):
        assert "signature" in refused(gate, gate.token(STRANGER, claims={"jti": str(number)}))
    assert gate.host.requests == {"/a": 2}


def test_forged_tokens_take_a_limited_number_of_threads_and_delay_no_good_caller(gate):
    gate.knock(gate.token())
    gate.host.delay = 2.0
    gate.clock.now += RETRY_S
    tokens = [gate.token(STRANGER, {"kid": kid}) for kid in (EC384.kid, "unknown") for _ in range(MOST_WAITING)]
    forgers = [threading.Thread(target=refused, args=(gate, token)) for token in tokens]
    for forger in forgers:
        forger.start()
    assert eventually(lambda: gate.host.requests == {"/a": 2})
    with within(1.0):
        assert gate.knock(gate.token(claims={"jti": "2"})).name == "a"
    most = 0
    while any(forger.is_alive() for forger in forgers):
        most = max(most, gate.keys._waiting)
        time.sleep(0.01)
    assert 0 < most <= MOST_WAITING
    assert gate.host.requests == {"/a": 2}


def test_a_hundred_unknown_kids_cost_one_fetch(gate):
    gate.knock(gate.token())
    gate.clock.now += RETRY_S
    for number in range(100):
        refused(gate, gate.token(header={"kid": f"k{number}"}))
    assert gate.host.requests == {"/a": 2}


def test_a_host_that_fails_is_asked_again_soon_but_no_more_often(gate):
    gate.host.answers["/a"] = DOWN
    with capture_logs() as logs:
        for number in range(10):
            refused(gate, gate.token(claims={"jti": str(number)}))
        assert gate.host.requests == {"/a": 1}
        gate.clock.now += AGAIN_S
        in_parallel(8, lambda: refused(gate, gate.token()))
    assert gate.host.requests == {"/a": 2}
    assert [entry["event"] for entry in logs] == ["keys_unavailable"] * 2
    gate.host.serve("/a", EC384)
    gate.clock.now += AGAIN_S
    assert gate.knock(gate.token()).name == "a"


def test_keys_outlive_the_failure_of_their_host_for_a_day(gate):
    gate.knock(gate.token())
    gate.host.answers["/a"] = DOWN
    with capture_logs():
        gate.clock.now += STALE_S - 1
        assert gate.knock(gate.token(claims={"jti": "2"})).name == "a"
        gate.clock.now += RETRY_S
        assert "no such key" in refused(gate, gate.token(claims={"jti": "3"}))


def test_a_withdrawn_key_is_refused_as_soon_as_newer_keys_have_come_after_ten_minutes(gate):
    gate.knock(gate.token())
    gate.host.serve("/a", NEXT)
    gate.clock.now += 601
    assert gate.knock(gate.token(claims={"jti": "2"})).name == "a"
    assert eventually(lambda: not gate.find(EC384.kid))
    assert "no such key" in refused(gate, gate.token(claims={"jti": "3"}))
    assert gate.host.requests == {"/a": 2}


def test_known_keys_are_renewed_at_leisure_while_their_host_is_down(gate):
    gate.knock(gate.token())
    gate.host.answers["/a"] = DOWN
    gate.clock.now += 601
    with capture_logs() as logs:
        for renewals in (1, 2):
            assert gate.find(EC384.kid)
            assert eventually(lambda count=renewals: len(logs) == count)
            for _ in range(14):
                gate.clock.now += AGAIN_S
                assert gate.find(EC384.kid)
            gate.clock.now += AGAIN_S
    assert gate.host.requests == {"/a": 3}


def test_a_hanging_host_does_not_delay_a_call_with_known_keys(gate):
    gate.knock(gate.token())
    gate.host.delay = 2.0
    gate.clock.now += 601
    with within(1.0):
        assert gate.knock(gate.token(claims={"jti": "2"})).name == "a"
    assert eventually(lambda: gate.host.requests == {"/a": 2})


def test_a_hanging_host_does_not_delay_a_call_whose_key_another_source_has(gate):
    gate.knock(gate.token())
    with silence() as port, capture_logs():
        gate.tenant = replace(gate.tenant, jku=(f"http://127.0.0.1:{port}/hangs", f"{gate.host.url}/a"))
        with within(1.0):
            assert gate.knock(gate.token(header={"jku": ...}, claims={"jti": "2"})).name == "a"


def test_a_hanging_host_does_not_hide_a_key_that_nobody_has_fetched_yet(gate):
    with silence() as port, capture_logs():
        gate.tenant = replace(gate.tenant, jku=(f"http://127.0.0.1:{port}/hangs", f"{gate.host.url}/a"))
        assert gate.knock(gate.token(header={"jku": ...})).name == "a"
    assert gate.host.requests == {"/a": 1}


def test_a_key_of_the_file_does_not_hide_those_that_a_host_publishes_under_its_kid(gate, tmp_path):
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(STRANGER))
    gate.tenant = replace(gate.tenant, jwks_file=file)
    assert gate.knock(gate.token()).name == "a"
    rotated = ECKey.generate_key("P-384", {"kid": EC384.kid})
    gate.host.serve("/a", rotated)
    gate.clock.now += RETRY_S
    assert gate.knock(gate.token(rotated, claims={"jti": "2"})).name == "a"
    assert "signature" in refused(gate, gate.token(claims={"jti": "3"}))
    assert gate.host.requests == {"/a": 2}


def test_a_hanging_host_delays_an_unknown_key_by_one_and_a_half_seconds_at_most_and_is_asked_once(gate):
    gate.host.delay = 2.3
    with within(2.2):
        answers = in_parallel(8, lambda: gate.find(EC384.kid))
    assert answers == [()] * 8
    assert eventually(lambda: gate.find(EC384.kid))
    assert gate.host.requests == {"/a": 1}


class Slow:
    """A source whose answers come when they are let go, as a name server's may: no deadline of ours ends that."""

    def __init__(self, *documents):
        self.documents, self.begun, self.let_go = documents, 0, [threading.Event() for _ in documents]
        self.clock = Clock()
        self.keys = KeyCache(self.fetch, self.clock)

    def fetch(self, _source):
        number = self.begun
        self.begun += 1
        self.let_go[number].wait(20)
        return self.documents[number]

    def find(self, key):
        return bool(self.keys.find(["x"], key.kid))

    def begins_one_more(self):
        """Does a caller in need of a key make a fetch begin?"""
        before = self.begun
        threading.Thread(target=self.find, args=(RSA,)).start()
        return eventually(lambda: self.begun > before, 0.5)


def test_a_fetch_that_does_not_end_bars_the_next_for_a_few_seconds_only():
    source = Slow(key_set(NEXT), key_set(EC384))
    assert source.begins_one_more()
    source.clock.now += GIVEN_UP_S - 1
    assert not source.begins_one_more()
    source.clock.now += 1
    source.let_go[1].set()
    assert source.find(EC384)
    source.let_go[0].set()
    time.sleep(0.3)  # what was asked for earlier comes later, and does not count
    assert source.find(EC384)
    assert not source.find(NEXT)


def test_a_late_answer_counts_where_there_is_none_but_ends_no_other_fetch():
    source = Slow(key_set(NEXT), key_set(EC384), b"")
    assert source.begins_one_more()
    source.clock.now += GIVEN_UP_S
    assert source.begins_one_more()
    source.let_go[0].set()
    assert eventually(lambda: source.find(NEXT))
    source.clock.now += AGAIN_S
    assert not source.begins_one_more()
    source.let_go[1].set()
    assert eventually(lambda: source.find(EC384))


@contextmanager
def dripping(begin):
    """A host that says `begin` and then one byte at a time, far longer than a fetch may take."""

    def serve(listener):
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    def drip(link):
        with suppress(OSError), link:
            link.sendall(begin)
            for _ in range(80):
                link.sendall(b"a")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        listener.shutdown(socket.SHUT_RDWR)


DRIPS = {
    "the status line": b"HTTP/1.",
    "headers": b"HTTP/1.1 200 OK\r\nX-Slow: ",
    "the body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
}


@pytest.mark.parametrize("begin", DRIPS.values(), ids=DRIPS)
def test_a_host_that_drips_is_cut_off(gate, begin):
    with dripping(begin) as url, within(4.5), pytest.raises((OSError, HTTPError)):
        fetcher(gate.out)(url)


def test_a_host_that_sends_without_end_is_cut_off(gate):
    gate.host.answers["/a"] = (200, {}, b" " * 10_000_000)
    with pytest.raises(OSError, match="large"):
        fetcher(gate.out)(gate.tenant.jku[0])


def test_many_at_once_share_one_fetch(gate):
    gate.host.delay = 0.2
    answers = in_parallel(8, lambda: gate.find(EC384.kid))
    assert all(len(keys) == 1 for keys in answers)
    assert gate.host.requests == {"/a": 1}


BAD_SETS = {
    "redirect": (302, {"Location": "/b"}, b""),
    "server error": (500, {}, key_set(EC384)),
    "not JSON": (200, {}, b"<html>"),
    "an empty set": (200, {}, b'{"keys":[]}'),
    "too large": (200, {}, key_set(EC384)[:-1] + b"," + b'"x":"' + b"a" * 300_000 + b'"}'),
    "compressed badly": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00"),
    "not compressed, though it says so": (200, {"Content-Encoding": "gzip"}, key_set(EC384)),
    "compressed without end": (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)),
    "cut off": (200, {"Content-Length": "100000"}, key_set(EC384)),
}


@pytest.mark.parametrize("answer", BAD_SETS.values(), ids=BAD_SETS)
def test_a_key_host_that_answers_badly_lets_nobody_in(gate, answer):
    gate.host.answers["/a"] = answer
    with capture_logs() as logs:
        assert "no such key" in refused(gate, gate.token())
    withdrawn = answer == BAD_SETS["an empty set"]
    assert [entry["event"] for entry in logs] == ["keys_withdrawn" if withdrawn else "keys_unavailable"]
    assert gate.host.requests == {"/a": 1}


ODD_SETS = {
    "compressed": ({"Content-Encoding": "gzip"}, gzip.compress(key_set(EC384))),
    "deflated": ({"Content-Encoding": "deflate"}, zlib.compress(key_set(EC384))),
    "with a byte order mark": ({}, b"\xef\xbb\xbf" + key_set(EC384)),
    "with a null among the keys": ({}, key_set(EC384).replace(b"[", b"[null,7,")),
}


@pytest.mark.parametrize(("headers", "body"), ODD_SETS.values(), ids=ODD_SETS)
def test_the_good_keys_of_an_odd_set_count(gate, headers, body):
    gate.host.answers["/a"] = (200, headers, body)
    assert gate.knock(gate.token()).name == "a"


def test_two_keys_under_one_kid_are_both_tried(gate):
    gate.host.serve("/a", STRANGER, EC384)
    assert gate.knock(gate.token()).name == "a"


def test_a_private_key_published_by_mistake_is_read_as_its_public_half(gate):
    gate.host.answers["/a"] = (200, {}, msgspec.json.encode({"keys": [EC384.as_dict(private=True)]}))
    assert gate.knock(gate.token()).name == "a"
    assert not gate.find(EC384.kid)[0].is_private


def test_a_name_that_leads_to_this_machine_is_not_followed_outside_development(gate):
    with session(loopback=False) as out, capture_logs():
        assert KeyCache(fetcher(out)).find([f"http://localhost:{gate.host.server.server_port}/a"], EC384.kid) == ()
    assert not gate.host.requests


def test_tokens_of_the_library_itself_are_accepted(gate):
    token = jwt.encode(gate.header(), gate.claims(), EC384, algorithms=["ES384"])
    assert gate.knock(f"Bearer {token}").name == "a"
