"""Settings: what starts, what does not, and that every reason is said at once with its place."""

import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from joserfc.jwk import ECKey

from service.errors import SettingsError
from service.logic.model import Analyte
from service.settings import Mode, load
from service.settings.lines import key_lines, line_of
from service.settings.site import (
    Bounds,
    OrderCode,
    Replay,
    RuleMode,
    ServiceSettings,
    SiteFile,
    SiteSchema,
    Smart,
    Tenant,
)

DOCS = Path(__file__).parents[1] / "docs"
SCHEMA = SiteSchema(
    thresholds={"mg-optimum": Bounds(Decimal("0.75"), Decimal("0.85")), "mg-severe": Bounds(Decimal(0), Decimal(1))},
    rules={"R-013", "R-040"},
    ingredients={"furosemide", "omeprazole"},
    systems={"icd-9", "icd-10", "ndc"},
)
SERVICE = '[service]\npublic_urls = ["https://cds.example"]\n'
TENANT = '[[tenant]]\nname = "a"\niss = "https://a.example"\njku = ["https://a.example/keys"]\n'


@pytest.fixture
def site(tmp_path):
    """Write a site file and load it."""

    def write(text, mode="production", **environ):
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        base = {
            "MAGNESIUM_CDS_MODE": mode,
            "MAGNESIUM_CDS_SITE": str(path),
            "DATABASE_URL": "postgresql://db/mg?sslmode=verify-full",
        }
        return load({**base, **environ}, SCHEMA)

    return write


def problems(work, *args, **kwargs):
    with pytest.raises(SettingsError) as error:
        work(*args, **kwargs)
    return [re.sub(r"^/\S*/site\.toml", "site.toml", problem) for problem in error.value.problems]


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_development_needs_nothing():
    settings = load({})
    assert settings.mode is Mode.DEVELOPMENT
    assert (settings.host, settings.port, settings.web_threads) == ("127.0.0.1", 8000, 128)
    assert settings.database_url == "sqlite:///var/magnesium-cds.sqlite3"
    assert settings.service.public_urls == ("http://127.0.0.1:8000", "http://localhost:8000")
    assert not settings.authenticates
    assert settings.development_tenant.language == "en"


def test_development_reads_fhir_servers_on_this_machine_only():
    allowed = load({}).development_tenant.allowed
    assert allowed("http://127.0.0.1:9000/fhir/Observation?patient=1")
    assert not allowed("http://10.0.0.1/fhir")


def test_the_secret_is_long_stands_in_one_place_and_is_never_quoted(tmp_path):
    long, short, file = "k" * 32, "k" * 31, tmp_path / "secret"
    file.write_text(f"{long}\nsecond line", encoding="utf-8")
    assert load({}).secret == ""
    assert load({"MAGNESIUM_CDS_SECRET": long}).secret == long
    assert load({"MAGNESIUM_CDS_SECRET_FILE": str(file)}).secret == long
    assert long not in repr(load({"MAGNESIUM_CDS_SECRET": long}))
    for environ, word in (
        ({"MAGNESIUM_CDS_SECRET": short}, "32 characters"),
        ({"MAGNESIUM_CDS_SECRET": long, "MAGNESIUM_CDS_SECRET_FILE": str(file)}, "only one"),
        ({"MAGNESIUM_CDS_SECRET_FILE": str(tmp_path / "none")}, "cannot be read"),
    ):
        (problem,) = problems(load, environ)
        assert word in problem
        assert short not in problem


def test_development_with_tenants_authenticates_them(site):
    assert site(TENANT, mode="development").authenticates


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "cds.example"])  # noqa: S104
def test_development_refuses_to_serve_beyond_this_machine(host):
    assert [problem.partition(":")[0] for problem in problems(load, {"HOST": host})] == ["HOST"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_development_serves_this_machine_under_each_of_its_names(host):
    assert load({"HOST": host}).host == host


def test_production_refuses_to_start_half_configured(site):
    assert [problem.partition(":")[0] for problem in problems(load, {"MAGNESIUM_CDS_MODE": "production"})] == [
        "DATABASE_URL",
        "MAGNESIUM_CDS_SITE",
    ]
    assert problems(site, "") == [
        "site.toml: service.public_urls: production needs the URLs under which callers reach the service",
        "site.toml: tenant: production needs at least one tenant: nobody could call",
    ]


def test_production_with_all_it_needs_starts_and_may_serve_the_network(site):
    settings = site(SERVICE + TENANT, HOST="0.0.0.0")  # noqa: S104
    assert settings.authenticates
    assert settings.host == "0.0.0.0"  # noqa: S104
    assert settings.service.cors_origins == ()


WRONG_ENVIRONMENTS = {
    "mode": ({"MAGNESIUM_CDS_MODE": "prod"}, "MAGNESIUM_CDS_MODE", "none of development, production"),
    "port in words": ({"PORT": "http"}, "PORT", "1 to 65535"),
    "port nought": ({"PORT": "0"}, "PORT", "1 to 65535"),
    "port too high": ({"PORT": "65536"}, "PORT", "1 to 65535"),
    "port in other digits": ({"PORT": "٨٠"}, "PORT", "1 to 65535"),
    "threads": ({"WEB_THREADS": "-1"}, "WEB_THREADS", "1 to 512"),
    "level": ({"MAGNESIUM_CDS_LOG_LEVEL": "INF0"}, "MAGNESIUM_CDS_LOG_LEVEL", 'did you mean "INFO"?'),
    "misspelt": ({"MAGNESIUM_CDS_SITES": "x"}, "MAGNESIUM_CDS_SITES", 'did you mean "MAGNESIUM_CDS_SITE"?'),
    "no such file": ({"MAGNESIUM_CDS_SITE": "/nowhere/site.toml"}, "site.toml", "FileNotFoundError"),
    "database": ({"DATABASE_URL": "mysql://u:secret@h/d"}, "DATABASE_URL", "postgresql://"),
    "secret file": ({"DATABASE_URL_FILE": "/nowhere"}, "DATABASE_URL_FILE", "cannot be read"),
}


@pytest.mark.parametrize(("environ", "name", "reason"), WRONG_ENVIRONMENTS.values(), ids=WRONG_ENVIRONMENTS)
def test_a_wrong_variable_is_named_with_its_reason_and_without_secrets(environ, name, reason):
    (problem,) = problems(load, environ)
    assert problem.startswith(f"{name}: ")
    assert reason in problem
    assert "secret" not in problem


@pytest.mark.parametrize("url", ["postgresql://u:p@h/d", "postgres:///d?host=h", "postgresql://[2001:db8::1]/d"])
def test_production_wants_to_know_whether_the_way_to_the_database_is_encrypted(site, url):
    (problem,) = problems(site, SERVICE + TENANT, DATABASE_URL=url)
    assert problem.startswith("DATABASE_URL: production needs sslmode")
    assert site(SERVICE + TENANT, DATABASE_URL=url, PGSSLMODE="verify-full").database_url == url


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@127.0.0.1:5432/d", "postgresql:///d?host=/run/postgresql", "sqlite:///x"]
)
def test_a_database_on_this_machine_needs_no_encryption(site, url):
    assert site(SERVICE + TENANT, DATABASE_URL=url).database_url == url


def test_an_empty_variable_is_an_absent_one():
    assert load({"HOST": "", "PORT": "", "MAGNESIUM_CDS_MODE": "", "DATABASE_URL": ""}) == load({})


def test_the_password_may_come_from_a_file_and_is_never_shown(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:s3cret@db/mg?sslmode=verify-ca\n")
    settings = load({"DATABASE_URL_FILE": str(secret)})
    assert settings.database_url == "postgresql://u:s3cret@db/mg?sslmode=verify-ca"
    assert "s3cret" not in repr(settings)


def test_an_empty_secret_file_is_no_reason_to_fall_back(tmp_path):
    (tmp_path / "url").write_text("\n")
    assert problems(load, {"DATABASE_URL_FILE": str(tmp_path / "url")}) == [
        "DATABASE_URL_FILE: cannot be read or is empty"
    ]


def test_two_places_for_the_database_are_one_too_many(tmp_path):
    (tmp_path / "url").write_text("sqlite:///x")
    environ = {"DATABASE_URL": "sqlite:///y", "DATABASE_URL_FILE": str(tmp_path / "url")}
    assert [problem.partition(":")[0] for problem in problems(load, environ)] == ["DATABASE_URL"]


# ── the site file ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_loads_without_a_problem():
    environ = {"MAGNESIUM_CDS_MODE": "production", "MAGNESIUM_CDS_SITE": str(DOCS / "site.example.toml")}
    settings = load({**environ, "DATABASE_URL": "postgresql://db/mg?sslmode=verify-full"}, SCHEMA)
    first, second = settings.tenants
    assert (first.replay, first.language) == (Replay.ENFORCE, "en")
    assert (second.replay, second.language) == (Replay.REPORT, "ru")
    assert first.orders[Analyte.SERUM_MAGNESIUM].code == "MG-SERUM"
    assert second.orders[Analyte.SERUM_MAGNESIUM].code == "MGS"
    assert second.aliases == {"magnesium": ("mg", "serumMg"), "creatinine": ("creat",), "medicationRequests": ("meds",)}
    assert settings.service.zone == ZoneInfo("Europe/Berlin")
    assert settings.labs["https://hospital.example/lab", "CREA"] is Analyte.CREATININE
    assert settings.drugs == {("https://hospital.example/formulary", "4711"): ("furosemide",)}
    assert settings.systems == {"https://hospital.example/diagnosis-icd9": "icd-9"}
    assert settings.thresholds == {"mg-optimum": Decimal("0.85")}
    assert settings.rules == {"R-013": RuleMode.SILENT}


@pytest.mark.parametrize("section", [SiteFile, ServiceSettings, Tenant, OrderCode, Smart])
def test_every_key_is_in_the_documentation_and_in_the_example(section):
    guide, example = ((DOCS / name).read_text(encoding="utf-8") for name in ("site-file.md", "site.example.toml"))
    for item in fields(section):
        name = f"[{item.name}" if section is SiteFile and item.name != "unsent" else f"`{item.name}`"
        assert name in guide
        assert item.name in example or item.name == "jwks_file"


def test_every_measurement_is_in_the_documentation():
    guide = " ".join((DOCS / "site-file.md").read_text(encoding="utf-8").split())
    assert [item for item in Analyte if item not in guide] == []


def test_a_tenant_reads_its_own_fhir_servers_only(site):
    settings = site(SERVICE + TENANT + 'fhir_bases = ["https://EHR.example:443/fhir/"]\n')
    allowed = settings.tenants[0].allowed
    assert allowed("https://ehr.example/fhir/Patient/1?x=1") == "https://ehr.example/fhir/Patient/1?x=1"
    assert not allowed("https://ehr.example/fhir2")
    assert not allowed("https://other.example/fhir")
    assert not allowed("http://127.0.0.1/fhir")


def test_a_key_file_beside_the_site_file_is_enough(site, tmp_path):
    key = ECKey.generate_key("P-384", {"kid": "k"})
    (tmp_path / "keys.json").write_bytes(msgspec.json.encode({"keys": [key.as_dict(private=False)]}))
    text = SERVICE + '[[tenant]]\nname = "a"\niss = "x"\njwks_file = "keys.json"\n'
    assert site(text).tenants[0].jwks_file == tmp_path / "keys.json"


def test_one_issuer_may_have_several_tenants_that_its_tokens_tell_apart(site):
    twin = TENANT.replace('"a"', '"b"')
    assert len(site(SERVICE + TENANT + 'tenants = ["1"]\n' + twin + 'tenants = ["2"]\n').tenants) == 2


SMART = '[tenant.smart]\nclient_id = "c"\niss = ["https://e.example/fhir"]\n'
SMART_OF_KEYS = SMART + 'jwks = "https://e.example/k"\nissuer = "i"\n'


def test_the_app_is_opened_at_the_fhir_servers_of_its_tenant_alone(site):
    settings = site(SERVICE + TENANT + SMART_OF_KEYS)
    tenant, smart = settings.opened_at("https://E.example/fhir/")
    assert (tenant.name, smart.sources) == ("a", ("https://e.example/fhir/",))
    for other in ("https://e.example/fhir2", "https://e.example/fhir/x", "http://127.0.0.1/fhir", "", "javascript:x"):
        assert settings.opened_at(other) is None


def test_in_open_development_the_app_is_opened_on_this_machine_and_at_the_public_launcher():
    settings = load({}, SCHEMA)
    for base in ("http://127.0.0.1:9/fhir", "https://launch.smarthealthit.org/v/r4/sim/x/fhir"):
        assert settings.opened_at(base)
    for other in ("https://e.example/fhir", "https://launch.smarthealthit.org.example/fhir", ""):
        assert settings.opened_at(other) is None


WRONG_SITES = {
    "unknown section": ("[servce]\n", 'site.toml:1: servce: unknown key; did you mean "service"?'),
    "unknown key": ("[service]\nzon = 1\n", 'site.toml:2: service.zon: unknown key; did you mean "zone"?'),
    "unknown tenant key": (
        TENANT + 'audiences = "x"\n',
        'site.toml:5: tenant.audiences: unknown key; did you mean "audience"?',
    ),
    "unknown order key": (
        '[orders.creatinine]\nsystem = "s"\ncode = "c"\ndisplay = "d"\ndisplays = "x"\n',
        'site.toml:5: orders.creatinine.displays: unknown key; did you mean "display"?',
    ),
    "order without code": (
        '[orders.creatinine]\nsystem = "s"\ndisplay = "d"\n',
        "site.toml:1: orders.creatinine.code: is required",
    ),
    "order for no test": ('[orders.x]\nsystem = "s"\ncode = "c"\ndisplay = "d"\n', "site.toml:1: orders.x: input"),
    "syntax": ("[service]\nlanguage = en\n", "site.toml:2: Invalid value"),
    "key twice": ('[service]\nlanguage = "en"\nlanguage = "ru"\n', "site.toml:3: Cannot overwrite"),
    "zone": ('[service]\nzone = "Europe/Berln"\n', "site.toml:2: service.zone: invalid timezone"),
    "language": ('[service]\nlanguage = "en-GB"\n', 'site.toml:2: service.language: no language is called "en-GB"'),
    "profile": ('[service]\nreference_profile = "defualt"\n', 'did you mean "default"?'),
    "number in words": ('[service]\ndeadline_ms = "2000"\n', "site.toml:2: service.deadline_ms: input should be"),
    "deadline": ("[service]\ndeadline_ms = 50\n", "greater than or equal to 100"),
    "switch in words": ('[service]\nuse_id_not_hook = "no"\n', "site.toml:2: service.use_id_not_hook: input"),
    "switch as number": ("[service]\nuse_id_not_hook = 1\n", "site.toml:2: service.use_id_not_hook: input"),
    "public by http": ('[service]\npublic_urls = ["http://cds.example"]\n', "service.public_urls: not a plain https URL"),
    "one URL for a list": ('[service]\npublic_urls = "https://a"\n', "site.toml:2: service.public_urls: input"),
    "any origin": ('[service]\ncors_origins = ["*"]\n', "site.toml:2: service.cors_origins: not a plain"),
    "origin with path": ('[service]\ncors_origins = ["https://a.example/x"]\n', "origin is scheme"),
    "no file": ('[service]\nca_bundle = "none.pem"\n', "site.toml:2: service.ca_bundle: there is no file"),
    "tenant without name": ('[[tenant]]\niss = "x"\njku = ["https://x/k"]\n', "site.toml:1: tenant.name: is required"),
    "tenant name": (TENANT.replace('"a"', '"A B"'), "site.toml:2: tenant.name: string should match"),
    "tenant without keys": ('[[tenant]]\nname = "a"\niss = "x"\n', "site.toml:1: tenant: needs jku or jwks_file"),
    "symmetric": (TENANT + 'algorithms = ["HS256"]\n', "site.toml:5: tenant.algorithms: input should be 'ES256'"),
    "unsigned": (TENANT + 'algorithms = ["none"]\n', "site.toml:5: tenant.algorithms: input should be"),
    "no algorithm": (TENANT + "algorithms = []\n", "site.toml:5: tenant.algorithms: "),
    "replay": (TENANT + 'replay = "off"\n', "site.toml:5: tenant.replay: input should be 'strict', 'enforce' or 'report'"),
    "plain jku": (TENANT.replace("https://a.example/keys", "http://a.example/k"), "site.toml:4: tenant.jku: not a"),
    "FHIR base with user": (TENANT + 'fhir_bases = ["https://u@e.example/r4"]\n', "site.toml:5: tenant.fhir_bases"),
    "network": (TENANT + 'fhir_networks = ["10.0.0.1/8"]\n', "site.toml:5: tenant.fhir_networks: 10.0.0.1/8 has host"),
    "name twice": (TENANT + TENANT.replace("a.example", "b.example"), "site.toml:6: tenant.name: another tenant"),
    "issuer twice": (TENANT + TENANT.replace('"a"', '"b"'), "site.toml:7: tenant.iss: another tenant has this iss"),
    "SMART without a proof": (TENANT + SMART, "site.toml:5: tenant.smart: needs introspection or jwks, not both"),
    "SMART with both": (
        TENANT + SMART + 'jwks = "https://e/k"\nintrospection = "https://e/i"\n',
        "site.toml:5: tenant.smart: needs introspection or jwks, not both",
    ),
    "introspection by nobody": (
        TENANT + SMART + 'introspection = "https://e.example/i"\n',
        "site.toml:5: tenant.smart: introspection needs introspection_client and introspection_secret_file",
    ),
    "keys of nobody": (TENANT + SMART + 'jwks = "https://e.example/k"\n', "site.toml:5: tenant.smart: jwks needs issuer"),
    "SMART key": (
        TENANT + SMART + 'jwks = "https://e.example/k"\nissuer = "i"\nclientid = "x"\n',
        'site.toml:10: tenant.smart.clientid: unknown key; did you mean "client_id"?',
    ),
    "SMART twice": (
        TENANT + SMART_OF_KEYS + TENANT.replace('"a"', '"b"').replace("a.example", "b.example") + SMART_OF_KEYS,
        "tenant.smart.iss: https://e.example/fhir is opened by another tenant",
    ),
    "alias of nothing": ('[aliases]\nmagnesum = ["mg"]\n', 'site.toml:2: aliases.magnesum: no prefetch key is called'),
    "unsent of nothing": ('unsent = ["urineMagnesum"]\n', 'did you mean "urineMagnesium"?'),
    "unsent magnesium": ('unsent = ["magnesium"]\n', "site.toml:1: unsent: without magnesium no answer is possible"),
    "lab without system": ('[labs]\nMG = "serum magnesium"\n', 'site.toml:2: labs.MG: a code is written "system|code"'),
    "lab of nothing": ('[labs]\n"s|MG" = "magnesium"\n', "site.toml:2: labs.s|MG: input should be 'serum magnesium'"),
    "drug of nothing": ('[drugs]\n"s|1" = ["furosemid"]\n', 'site.toml:2: drugs.s|1: no ingredient is called'),
    "threshold unknown": ("[thresholds]\nmg-optimun = 0.8\n", 'did you mean "mg-optimum"?'),
    "threshold too low": ("[thresholds]\nmg-optimum = 0.7\n", "site.toml:2: thresholds.mg-optimum: 0.7 is outside"),
    "threshold true": ("[thresholds]\nmg-severe = true\n", "site.toml:2: thresholds.mg-severe: "),
    "threshold that is none": ("[thresholds]\nmg-severe = nan\n", "site.toml:2: thresholds.mg-severe: "),
    "threshold without end": ("[thresholds]\nmg-severe = inf\n", "site.toml:2: thresholds.mg-severe: "),
    "system of no standard": (
        '[systems]\n"https://a" = "icd9"\n',
        'site.toml:2: systems.https://a: no code system is called "icd9"; did you mean',
    ),
    "rule unknown": ('[rules]\nR-031 = "off"\n', 'site.toml:2: rules.R-031: no rule is called "R-031"; did you mean'),
    "rule neither on nor off": ("[rules]\nR-013 = false\n", "site.toml:2: rules.R-013: input should be 'on', 'off'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG_SITES.values(), ids=WRONG_SITES)
def test_a_wrong_site_file_is_refused_with_line_and_reason(site, text, message):
    (problem,) = set(problems(site, text, mode="development"))
    assert message in problem


def test_a_trial_on_this_machine_alone_is_reached_by_http_in_production_too(site):
    here = SERVICE.replace("https://cds.example", "http://127.0.0.1:8000") + TENANT
    assert site(here, mode="production").service.public_urls == ("http://127.0.0.1:8000",)


PRODUCTION_ONLY = {
    "http to this machine": (SERVICE + TENANT + 'fhir_bases = ["http://[::1]/r4"]\n', "must be https in production"),
    "keys by http": (SERVICE + TENANT.replace("https://a.example/keys", "http://localhost/keys"), "must be https"),
    "the sandbox": (SERVICE + TENANT.replace("https://a.example", "https://sandbox.cds-hooks.org"), "private key"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), PRODUCTION_ONLY.values(), ids=PRODUCTION_ONLY)
def test_what_development_may_do_production_may_not(site, text, message):
    assert site(text, mode="development")
    (problem,) = problems(site, text)
    assert message in problem


@pytest.mark.parametrize("content", [b"", b"{}", b'{"keys":[]}', b'{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}'])
def test_a_key_file_without_a_usable_key_is_a_problem(site, tmp_path, content):
    (tmp_path / "keys.json").write_bytes(content)
    text = '[[tenant]]\nname = "a"\niss = "x"\njwks_file = "keys.json"\n'
    (problem,) = problems(site, text, mode="development")
    assert "keys.json: " in problem


def test_all_problems_of_file_and_environment_come_at_once_in_order(site):
    text = (
        '[service]\nzone = "X"\npublic_url = 1\n\n[[tenant]]\nname = "a"\n\n[[tenant]]\nname = "a"\niss = "b"\n'
        'jku = ["https://b.example/k"]\nreplay = "no"\n\n[thresholds]\nmg-optimum = 9\nx = 1\n'
    )
    found = problems(site, text, PORT="x", DATABASE_URL="")
    assert [problem.split(": ")[0] + " " + problem.split(": ")[1] for problem in found] == [
        "PORT must be a whole number from 1 to 65535",
        "DATABASE_URL production needs it (or DATABASE_URL_FILE) to be set",
        "site.toml:1 service.public_urls",
        "site.toml:2 service.zone",
        "site.toml:3 service.public_url",
        "site.toml:5 tenant",
        "site.toml:5 tenant.iss",
        "site.toml:9 tenant.name",
        "site.toml:12 tenant.replay",
        "site.toml:15 thresholds.mg-optimum",
        "site.toml:16 thresholds.x",
    ]


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    (problem,) = problems(load, {"MAGNESIUM_CDS_SITE": str(tmp_path / "site.toml")})
    assert "UnicodeDecodeError" in problem


def test_settings_cannot_be_changed(site):
    settings = site(SERVICE + TENANT)
    for target, name in ((settings, "mode"), (settings.service, "zone"), (settings.tenants[0], "iss")):
        with pytest.raises(AttributeError):
            setattr(target, name, None)
    with pytest.raises(TypeError):
        settings.rules["R-013"] = "off"


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = """\
top = 1
[service]  # comment
"quoted key" = [
  "https://x?a=b",
  'c = 1',
]
dotted.key = 2
[[tenant]]
name = "a"
[tenant.orders."serum magnesium"]
code = 1
[[tenant]]
  name = "b"
[tenant.aliases]
x = ["y"]
"""
LINES = {
    ("top",): 1,
    ("service",): 2,
    ("service", "quoted key"): 3,
    ("service", "quoted key", 1): 3,
    ("service", "dotted", "key"): 7,
    ("tenant", 0): 8,
    ("tenant", 0, "name"): 9,
    ("tenant", 0, "orders", "serum magnesium", "code"): 11,
    ("tenant", 1, "name"): 13,
    ("tenant", 1, "aliases", "x", 0): 15,
    ("tenant", 1, "missing"): 12,
    ("absent",): None,
}


@pytest.mark.parametrize(("path", "line"), LINES.items())
def test_the_line_of_a_key_is_found(path, line):
    assert line_of(key_lines(TEXT), path) == line
