"""The image, built and run as a cluster would run it: not root, nothing to write on, no capability.

BUILD_IMAGE=1: it is built, run and examined. BUILD_IMAGE=auto, for CI: so it is where this machine can build an image
and run a container, and where it cannot, the reason is given.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import yaml
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.deploy.manifests import DEPLOY, ROOT, Manifest, of_kind, rendered

if os.environ.get("BUILD_IMAGE") not in {"1", "auto"}:
    pytest.skip("THE IMAGE WAS NOT BUILT: BUILD_IMAGE=1 builds, runs and examines it (root)", allow_module_level=True)

IMAGE = "localhost/magnesium-cds:test"
BUILD_SECONDS = 600
REVISION = "0123456789abcdef0123456789abcdef01234567"
SERVICE = "magnesium-patient-view"
PUBLIC = "https://cds.hospital.example"
KEY = ECKey.generate_key("P-384", {"kid": "of-this-run"})
SITE = f"""
[service]
public_urls = ["{PUBLIC}"]
zone = "Europe/Berlin"
[[tenant]]
name = "hospital"
iss = "https://ehr.hospital.example"
jwks_file = "jwks.json"
"""
# A plain virtual machine: no systemd, no CAP_SYS_RESOURCE.
ENGINE = """[containers]
default_ulimits=["nofile=16384:16384","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
CONFINED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
SYNTHETIC: dict[str, Any] = {
    "hook": "patient-view",
    "hookInstance": "8f6fd1bd-3f4c-4b1c-9b8e-0d6ecb4a9b60",
    "context": {"userId": "Practitioner/1", "patientId": "p1"},
    "prefetch": {
        "patient": {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-01-01"},
        "magnesium": {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
            "effectiveDateTime": datetime.now(UTC).isoformat(timespec="seconds"),
            "valueQuantity": {"value": 0.45, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Running:
    """A container that answers at `base`; `files` is what it sees as /etc/magnesium-cds."""

    name: str
    base: str

    def status(self) -> dict[str, str]:
        """/proc/…/status of its first process."""
        pid = podman("inspect", "-f", "{{.State.Pid}}", self.name)
        return dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        config = tmp_path_factory.mktemp("engine") / "containers.conf"
        config.write_text(ENGINE)
        patch.setenv("CONTAINERS_CONF", str(config))
        yield


@pytest.fixture(scope="module")
def image() -> str:
    try:
        environment = {**os.environ, "IMAGE": IMAGE, "REVISION": REVISION}
        subprocess.run([DEPLOY / "build-image.sh"], env=environment, check=True, timeout=BUILD_SECONDS)
        podman("run", "--rm", "--network", "host", *CONFINED, IMAGE, "--version")
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        if os.environ["BUILD_IMAGE"] == "1":
            raise
        pytest.skip(f"THE IMAGE WAS NOT BUILT OR CANNOT BE RUN ON THIS MACHINE (details above): {error}")
    return IMAGE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site file, the callers' keys and the database URL."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "site.toml").write_text(SITE)
    (folder / "jwks.json").write_bytes(msgspec.json.encode({"keys": [KEY.as_dict(private=False)]}))
    (folder / "url").write_text("sqlite:////data/cds.sqlite3\n")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def container(image: str, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The image in production mode, after the migration, on a database that only user 10001 may write."""
    data = tmp_path_factory.mktemp("data")
    shutil.chown(data, 10001, 10001)
    port = free_port()
    options = (
        *("--network", "host", "--memory", "512m", "--pids-limit", "512", *CONFINED),
        *("-v", f"{site}:/etc/magnesium-cds:ro", "-v", f"{data}:/data"),
        *("-e", f"PORT={port}", "-e", "HOST=127.0.0.1", "-e", "DATABASE_URL_FILE=/etc/magnesium-cds/url"),
    )
    podman("run", "--rm", *options, image, "db", "upgrade")
    name = f"magnesium-cds-test-{port}"
    podman("run", "-d", "--name", name, *options, image)
    running = Running(name, f"http://127.0.0.1:{port}")
    try:
        alive(running)
        yield running
    finally:
        podman("rm", "-f", name)


def podman(*command: str | Path) -> str:
    done = subprocess.run(["podman", *command], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(running: Running, patience: float = 20.0) -> None:
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        try:
            return requests.get(f"{running.base}/health/live", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
    pytest.fail(f"not alive after {patience} s: {podman('logs', running.name)}")


def call(running: Running, jti: str) -> requests.Response:
    """A signed hook call."""
    now = int(time.time())
    claims = {"iss": "https://ehr.hospital.example", "aud": f"{PUBLIC}/cds-services/{SERVICE}"}
    header = {"alg": "ES384", "kid": "of-this-run", "typ": "JWT"}
    token = jwt.encode(header, {**claims, "iat": now, "exp": now + 300, "jti": jti}, KEY, algorithms=["ES384"])
    url = f"{running.base}/cds-services/{SERVICE}"
    return requests.post(url, json=SYNTHETIC, headers={"Authorization": f"Bearer {token}"}, timeout=10)


# ── it works ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_confined_container_answers_a_signed_call(container: Running) -> None:
    answer = call(container, "first")
    assert answer.status_code == 200, answer.text
    assert "magnesium" in answer.json()["cards"][0]["summary"].lower()


def test_unsigned_call_is_refused(container: Running) -> None:
    assert requests.post(f"{container.base}/cds-services/{SERVICE}", json=SYNTHETIC, timeout=10).status_code == 401


def test_migrated_store_remembers_tokens(container: Running) -> None:
    checks = requests.get(f"{container.base}/health/ready", timeout=5).json()["checks"]
    assert checks["store"] == "ok"
    assert [call(container, "twice").status_code for _ in range(2)] == [200, 401]


def test_health_check_of_the_image_passes(container: Running) -> None:
    check = msgspec.json.decode(podman("image", "inspect", "-f", "{{json .HealthCheck}}", IMAGE))
    assert check["Test"][0] == "CMD", "a shell would be needed"
    podman("exec", container.name, *check["Test"][1:])


def test_contract_is_in_the_image(container: Running) -> None:
    assert requests.get(f"{container.base}/openapi.yaml", timeout=5).content == (ROOT / "openapi.yaml").read_bytes()


# ── it is confined ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_process_has_no_privilege(container: Running) -> None:
    status = container.status()
    assert set(status["Uid"].split()) | set(status["Gid"].split()) == {"10001"}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_nothing_was_written_but_the_database(container: Running) -> None:
    changed = {line.split()[1] for line in podman("diff", container.name).splitlines()}
    assert changed <= {"/etc", "/etc/group", "/etc/passwd", "/data", "/etc/magnesium-cds"}, "besides what podman mounts"


@pytest.mark.parametrize("program", ["sh", "bash", "apt", "dpkg", "perl", "pip"])
def test_image_holds_no_tool(container: Running, program: str) -> None:
    done = subprocess.run(["podman", "exec", container.name, program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr, done.stderr


def test_environment_holds_no_program_but_python(container: Running) -> None:
    programs = inside(container, "import os; print(*os.listdir('/app/venv/bin'))").split()
    assert [program for program in programs if not program.startswith("python")] == []


def test_user_and_group_have_names(container: Running) -> None:
    assert (
        inside(container, "import grp, pwd; print(pwd.getpwuid(10001)[0], grp.getgrgid(10001)[0])").split()
        == ["service"] * 2
    )


# ── it says what is in it ────────────────────────────────────────────────────────────────────────────────────────────


def inside(container: Running, code: str) -> str:
    return podman("exec", container.name, "/app/venv/bin/python", "-c", code)


@pytest.fixture(scope="module")
def bill(container: Running) -> dict[str, Any]:
    """The bill of materials."""
    bill: dict[str, Any] = msgspec.json.decode(inside(container, "print(open('/app/sbom.cdx.json').read())"))
    return bill


def listed(bill: dict[str, Any], kind: str) -> dict[str, Any]:
    """The components, of the bill or of a component, whose package URL is of this kind, by name."""
    found = (each for each in bill["components"] if each.get("purl", "").startswith(f"pkg:{kind}/"))
    return {component["name"].lower(): component for component in found}


def test_bill_of_materials_names_every_package_with_its_licence(container: Running, bill: dict[str, Any]) -> None:
    installed = "from importlib.metadata import distributions as d; print(*{x.name.lower() for x in d()})"
    packages = listed(bill, "pypi")
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "magnesium-cds")
    assert bill["serialNumber"].startswith("urn:uuid:")
    assert packages.keys() == set(inside(container, installed).split())
    assert [name for name, component in packages.items() if not component.get("licenses")] == []


def test_bill_of_materials_names_python_and_every_package_of_the_system(
    container: Running, bill: dict[str, Any]
) -> None:
    version, *records = inside(
        container, "import os, sys; print(sys.version.split()[0], *os.listdir('/var/lib/dpkg/status.d'))"
    ).split()
    assert listed(bill, "generic")["python"]["version"] == version
    assert listed(bill, "deb").keys() == set(records) >= {"libc6", "base-files", "ca-certificates"}


def test_bill_of_materials_names_the_openssl_that_wheels_bring_along(container: Running, bill: dict[str, Any]) -> None:
    said = inside(
        container, "from cryptography.hazmat.backends.openssl import backend as b; print(b.openssl_version_text())"
    )
    packages = listed(bill, "pypi")
    assert listed(packages["cryptography"], "generic")["openssl"]["version"] == said.split()[1]
    assert re.fullmatch(r"3\.\d+\.\d+", listed(packages["psycopg-binary"], "generic")["openssl"]["version"])


def test_scanners_find_the_system_and_licences_are_inside(container: Running) -> None:
    code = "import os; r, d = '/var/lib/dpkg/status.d', '/usr/share/doc'; print(len(os.listdir(r)), len(os.listdir(d)))"
    records, licences = map(int, inside(container, code).split())
    assert records >= licences > 10
    assert inside(container, "print(open('/etc/debian_version').read())")[0].isdigit()
    assert "LOINC" in inside(container, "print(open('/app/NOTICE').read())")
    assert "Apache License" in inside(container, "print(open('/app/LICENSE').read())")


def test_handbook_names_the_packages_without_a_licence_text(container: Running) -> None:
    """Each package carries its licence in its dist-info folder, but for those that the handbook names."""
    code = (
        "import re; from importlib.metadata import distributions\n"
        "def carries(d): return any(re.search('dist-info/.*(licen[cs]e|copying)', str(f), re.I) for f in d.files)\n"
        "print(*(d.name for d in distributions() if not carries(d)))"
    )
    handbook = " ".join((ROOT / "docs/operating.md").read_text(encoding="utf-8").split())
    named = re.findall(r"but for (.*?), whose", handbook)[0]
    assert set(inside(container, code).split()) == set(re.findall(r"`(\S+)`", named))


@pytest.mark.usefixtures("image")
def test_labels_say_what_it_was_built_from() -> None:
    labels = msgspec.json.decode(podman("image", "inspect", "-f", "{{json .Labels}}", IMAGE))
    said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert f'\nversion = "{said["version"]}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert said["revision"] == REVISION
    assert said["base.digest"] == podman("image", "inspect", "-f", "{{.Digest}}", said["base.name"])


# ── its manifests run, and it goes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("image")
def test_rendered_manifests_run(site: Path, tmp_path: Path) -> None:
    """podman runs the production Deployment, with the keys of this run and SQLite instead of the hospital's."""
    port = free_port()
    manifests = rehearsed(site, port)
    file = tmp_path / "play.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    podman("play", "kube", file)
    name = podman("ps", "--filter", "name=magnesium-cds-pod", "--filter", f"ancestor={IMAGE}", "--format", "{{.Names}}")
    running = Running(name, f"http://127.0.0.1:{port}")
    try:
        alive(running)
        assert call(running, "rehearsal").status_code == 200
        test_process_has_no_privilege(running)
    finally:
        podman("play", "kube", "--down", file)
        podman("volume", "rm", "-f", *(each["metadata"]["name"] for each in of_kind(manifests, "ConfigMap")))


def rehearsed(site: Path, port: int) -> list[Manifest]:
    manifests = of_kind(rendered(DEPLOY / "overlays/production"), "ConfigMap", "Deployment")
    for manifest in of_kind(manifests, "ConfigMap"):
        if "PORT" in manifest["data"]:
            del manifest["data"]["MAGNESIUM_CDS_SECRET_FILE"]  # its Secret is not rehearsed: the repeat guard is off
            manifest["data"] |= {"PORT": str(port), "HOST": "127.0.0.1", "DATABASE_URL_FILE": "/etc/magnesium-cds/url"}
        if "site.toml" in manifest["data"]:
            manifest["data"] = {file.name: file.read_text() for file in site.iterdir()}
    pod = of_kind(manifests, "Deployment")[0]["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["containers"][0]["image"] = IMAGE
    for key in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):  # podman would run curl in the container
        del pod["containers"][0][key]
    pod["volumes"] = [volume for volume in pod["volumes"] if "secret" not in volume] + [
        {"name": "data", "emptyDir": {}}
    ]
    pod["containers"][0]["volumeMounts"][1:] = [{"name": "data", "mountPath": "/data"}]
    return manifests


def test_call_under_way_is_answered_before_the_container_ends(container: Running) -> None:
    """Last, for it stops the container: half of a call, then TERM, then the other half."""
    body = b'{"bundle": {"resourceType": "Bundle"}}'
    head = f"POST /v1/evaluate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(container.base.rsplit(":")[-1])), timeout=10) as client:
        client.sendall(head + body[:5])
        time.sleep(0.5)
        with subprocess.Popen(["podman", "stop", "-t", "30", container.name], stderr=subprocess.DEVNULL) as stopping:
            time.sleep(1)
            client.sendall(body[5:])
            assert client.recv(100).startswith(b"HTTP/1.1 ")
            assert stopping.wait(30) == 0
    assert podman("inspect", "-f", "{{.State.ExitCode}}", container.name) == "0"
