"""Allowed addresses: every spelling by which a URL has been known to mean two things is refused."""

from ipaddress import ip_network

import pytest

from service.net.urls import address_allowed, allowed_url, is_loopback, loopback_url, normalise

BASES = ("https://ehr.example/fhir", "https://ehr.example:8443/r4", "https://10.1.2.3", "http://127.0.0.1:9000/fhir")

ALLOWED = {
    "https://ehr.example/fhir": "https://ehr.example/fhir",
    "https://ehr.example/fhir/": "https://ehr.example/fhir",
    "https://EHR.example:443/fhir": "https://ehr.example/fhir",
    "HTTPS://ehr.example./fhir/Patient/a.b-c": "https://ehr.example/fhir/Patient/a.b-c",
    "https://ehr.example/fhir/Observation/%7Ca": "https://ehr.example/fhir/Observation/%7Ca",
    "https://ehr.example:8443/r4/metadata": "https://ehr.example:8443/r4/metadata",
    "https://10.1.2.3/any/path": "https://10.1.2.3/any/path",
    "http://127.0.0.1:9000/fhir": "http://127.0.0.1:9000/fhir",
}

REFUSED = {
    "nothing": "",
    "relative": "/fhir",
    "no scheme": "ehr.example/fhir",
    "no host": "https:///fhir",
    "plain http": "http://ehr.example/fhir",
    "http on the https port": "http://ehr.example:443/fhir",
    "another port": "https://ehr.example:8444/fhir",
    "port nought": "https://ehr.example:0/fhir",
    "port that is none": "https://ehr.example:44x/fhir",
    "port out of range": "https://ehr.example:99999/fhir",
    "another base's path on this port": "https://ehr.example/r4",
    "above the base": "https://ehr.example/",
    "path beside the base": "https://ehr.example/fhirx",
    "path in another case": "https://ehr.example/FHIR",
    "suffix host": "https://ehr.example.evil.test/fhir",
    "prefix host": "https://evil-ehr.example/fhir",
    "user information": "https://ehr.example@evil.test/fhir",
    "user information before the right host": "https://user:pw@ehr.example/fhir",
    "empty user information": "https://@ehr.example/fhir",
    "fragment before at": "https://evil.test#@ehr.example/fhir",
    "fragment": "https://ehr.example/fhir#x",
    "empty fragment": "https://ehr.example/fhir#",
    "backslash before at": "https://ehr.example\\@evil.test/fhir",
    "backslash as slash": "https:\\\\ehr.example/fhir",
    "dot segments": "https://ehr.example/fhir/../admin",
    "dot segment at the end": "https://ehr.example/fhir/..",
    "single dot": "https://ehr.example/fhir/./x",
    "dot segment with parameter": "https://ehr.example/fhir/..;a=1/admin",
    "encoded slash": "https://ehr.example/fhir%2f..%2fadmin",
    "encoded dots": "https://ehr.example/fhir/%2e%2E/admin",
    "encoded backslash": "https://ehr.example/fhir/%5c..",
    "twice encoded dots": "https://ehr.example/fhir/%252e%252e/admin",
    "encoded null": "https://ehr.example/fhir/%00",
    "encoded line break": "https://ehr.example/fhir/%0d%0aX:y",
    "half an escape": "https://ehr.example/fhir/%2",
    "empty segment": "https://ehr.example/fhir//x",
    "empty first segment": "https://ehr.example//fhir",
    "decimal address": "https://2130706433/fhir",
    "decimal form of an allowed address": "https://167838211/x",
    "short address": "https://10.1.515/x",
    "octal address": "https://012.1.2.3/x",
    "hexadecimal address": "https://0x0a.1.2.3/x",
    "mapped address": "https://[::ffff:10.1.2.3]/x",
    "scoped address": "https://[fe80::1%25eth0]/x",
    "line break": "https://ehr.example/fhir\r\nX: y",
    "tab in the scheme": "ht\ttps://ehr.example/fhir",
    "leading space": " https://ehr.example/fhir",
    "delete": "https://ehr.example/fhir/\x7f",
    "homoglyph": "https://еhr.example/fhir",
    "full-width dot": "https://ehr。example/fhir",
    "non-ASCII path": "https://ehr.example/fhir/ü",
    "percent in the host": "https://ehr%2eexample/fhir",
    "two dots in the host": "https://ehr..example/fhir",
    "broken bracket": "https://[::1/fhir",
    "file": "file:///etc/passwd",
    "gopher": "gopher://ehr.example/fhir",
    "query": "https://ehr.example/fhir?x=1",
    "too long": "https://ehr.example/fhir/" + "a" * 8192,
}


@pytest.mark.parametrize(("url", "normal"), ALLOWED.items())
def test_an_allowed_url_comes_back_in_its_one_spelling(url, normal):
    assert allowed_url(url, BASES) == normal


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_every_attack_spelling_is_refused(url):
    assert allowed_url(url, BASES) is None


def test_a_next_link_may_carry_a_query_but_not_leave_the_base():
    assert allowed_url("https://ehr.example/fhir?_getpages=a&b=%2F", BASES, query=True) == (
        "https://ehr.example/fhir?_getpages=a&b=%2F"
    )
    assert allowed_url("https://evil.test/fhir?_getpages=a", BASES, query=True) is None
    assert allowed_url("https://evil.test?https://ehr.example/fhir", BASES, query=True) is None


def test_no_base_allows_nothing_and_a_bad_base_allows_nothing():
    assert allowed_url("https://ehr.example/fhir", ()) is None
    assert allowed_url("http://ehr.example/fhir", ("http://ehr.example/fhir",)) is None


@pytest.mark.parametrize("url", ["http://localhost:5000/fhir", "http://127.9.9.9/fhir", "https://[::1]:8443/fhir"])
def test_loopback_is_this_machine_on_any_port(url):
    assert loopback_url(url) == url


@pytest.mark.parametrize(
    "url", ["http://localhost.evil.test/", "http://10.0.0.1/", "http://0.0.0.0/", "http://localhost:1/?q=1"]
)
def test_nothing_else_is_loopback(url):
    assert loopback_url(url) is None


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("ehr.example", False), ("", False)],
)
def test_loopback_hosts_are_known_without_a_lookup(host, local):
    assert is_loopback(host) is local


def test_an_ipv6_host_has_one_spelling():
    assert normalise("https://[2001:DB8:0:0::1]:443/x/") == "https://[2001:db8::1]/x"


ADDRESSES = [
    ("10.1.2.3", [], False, True),
    ("203.0.113.7", [], False, True),
    ("2001:db8::1", [], False, True),
    ("127.0.0.1", [], False, False),
    ("127.0.0.1", [], True, True),
    ("::1", [], False, False),
    ("::ffff:127.0.0.1", [], False, False),
    ("169.254.169.254", [], False, False),
    ("::ffff:169.254.169.254", [], False, False),
    ("fe80::1", [], False, False),
    ("64:ff9b::7f00:1", [], False, False),
    ("0.0.0.0", [], False, False),  # noqa: S104
    ("224.0.0.1", [], False, False),
    ("10.1.2.3", ["10.1.0.0/16"], False, True),
    ("10.2.2.3", ["10.1.0.0/16"], False, False),
    ("203.0.113.7", ["10.1.0.0/16", "fd00::/8"], False, False),
    ("fd00::9", ["10.1.0.0/16", "fd00::/8"], False, True),
    ("not an address", [], True, False),
]


@pytest.mark.parametrize(("address", "networks", "loopback", "allowed"), ADDRESSES)
def test_where_a_connection_may_end(address, networks, loopback, allowed):
    assert address_allowed(address, [ip_network(item) for item in networks], loopback=loopback) is allowed
