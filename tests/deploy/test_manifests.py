"""The manifests: rendered, valid by the schemas of Kubernetes, true to the policies and to the service's own rules."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, load
from service.site import site_schema
from tests.deploy import policies
from tests.deploy.manifests import DEPLOY, ROOT, Manifest, as_written, of_kind, pods, rendered, without

OVERLAYS = ("production", "test")
OLDEST, NEWEST = "1.30", "1.37"  # of Kubernetes: preStop.sleep came with the former
OTHER_SCHEMAS = {"ServiceMonitor", "PrometheusRule"}  # of the Prometheus Operator
DATABASE = "postgresql://mg@db.hospital.example/mg?sslmode=verify-full&sslrootcert=/etc/magnesium-cds/hospital-ca.pem"
Policy = Callable[[list[Manifest]], Iterator[str]]


def overlay(name: str) -> list[Manifest]:
    return rendered(DEPLOY / "overlays" / name)


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", policies.STRUCTURE, ids=lambda policy: policy.__name__)
def test_files_as_written_keep_the_policy(policy: Policy) -> None:
    assert list(policy(as_written())) == []


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("policy", policies.RENDERED, ids=lambda policy: policy.__name__)
def test_rendered_overlay_keeps_the_policy(policy: Policy, name: str) -> None:
    assert list(policy(overlay(name))) == []


WEB = "spec.template.spec.containers.0"
ONE = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
ALL = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]}
PORT = [{"protocol": "TCP", "port": 443}]
PRIVILEGED = {"containers": [{"image": "x", "securityContext": {"privileged": True}}], "hostNetwork": True}
FAULTS: tuple[tuple[Policy, str, str, Any], ...] = (  # policy, kind, where, what is put there (None: taken away)
    (policies.needed, "Namespace", "kind", "ClusterRoleBinding"),
    (policies.needed, "Job", "kind", "CronJob"),
    (policies.restricted, "Namespace", ":", {"kind": "Pod", "spec": PRIVILEGED}),
    (policies.restricted, "Namespace", ":", {"kind": "ReplicaSet", "spec": {"template": {"spec": PRIVILEGED}}}),
    (policies.restricted, "Namespace", ":", {"kind": "StatefulSet", "spec": {"template": {"spec": PRIVILEGED}}}),
    (policies.restricted, "Namespace", ":", {"kind": "DaemonSet", "spec": {"template": {"spec": PRIVILEGED}}}),
    (
        policies.restricted,
        "Namespace",
        ":",
        {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": PRIVILEGED}}}}},
    ),
    (policies.restricted, "Deployment", f"{WEB}.securityContext.allowPrivilegeEscalation", True),
    (policies.restricted, "Deployment", f"{WEB}.securityContext.privileged", True),
    (policies.restricted, "Deployment", f"{WEB}.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    (policies.restricted, "Deployment", f"{WEB}.ports.0.hostPort", 8000),
    (policies.restricted, "Deployment", "spec.template.spec.securityContext.runAsNonRoot", False),
    (policies.restricted, "Job", "spec.template.spec.securityContext.runAsUser", 0),
    (policies.restricted, "Job", "spec.template.spec.securityContext.seccompProfile", None),
    (policies.restricted, "Job", "spec.template.spec.volumes.0", {"name": "site", "hostPath": {"path": "/"}}),
    (policies.restricted, "Job", "spec.template.spec.volumes.0", {"name": "site", "projected": {"sources": []}}),
    (policies.restricted, "Job", "spec.template.spec.hostNetwork", True),
    (policies.restricted, "Job", "spec.template.spec.shareProcessNamespace", True),
    (policies.restricted, "Job", "spec.template.spec.securityContext.sysctls", [{"name": "net.core.somaxconn"}]),
    (policies.restricted, "Job", "spec.template.spec.securityContext.appArmorProfile", {"type": "Unconfined"}),
    (policies.restricted, "Deployment", f"{WEB}.securityContext.appArmorProfile", {"type": "Unconfined"}),
    (policies.restricted, "Deployment", f"{WEB}.securityContext.procMount", "Unmasked"),
    (policies.hardened, "Deployment", f"{WEB}.securityContext.readOnlyRootFilesystem", None),
    (policies.hardened, "Deployment", f"{WEB}.resources.limits.memory", None),
    (policies.hardened, "Deployment", f"{WEB}.resources.limits.ephemeral-storage", None),
    (policies.hardened, "ServiceAccount", "automountServiceAccountToken", None),
    (policies.hardened, "Job", "spec.template.spec.automountServiceAccountToken", None),
    (policies.hardened, "Job", "spec.template.spec.enableServiceLinks", None),
    (policies.probed, "Deployment", f"{WEB}.startupProbe", None),
    (policies.probed, "Deployment", f"{WEB}.readinessProbe.httpGet.port", "htpp"),
    (policies.probed, "Deployment", f"{WEB}.livenessProbe.httpGet.path", "/health/ready"),
    (policies.drained, "Deployment", f"{WEB}.lifecycle", None),
    (policies.drained, "Deployment", "spec.template.spec.terminationGracePeriodSeconds", 30),
    (policies.selecting, "Service", "spec.selector", {"app.kubernetes.io/name": "magnesium-cds"}),
    (policies.selecting, "PodDisruptionBudget", "spec.selector.matchLabels", {"app": "magnesium-cds"}),
    (policies.selecting, "Deployment", "spec.template.spec.topologySpreadConstraints", None),
    (policies.selecting, "ServiceMonitor", "spec.selector.matchLabels", {"app": "magnesium-cds"}),
    (policies.available, "ResourceQuota", "kind", "LimitRange"),
    (policies.available, "ResourceQuota", "spec.hard.pods", "17"),
    (policies.available, "HorizontalPodAutoscaler", "spec.minReplicas", 1),
    (policies.available, "Deployment", "spec.strategy.rollingUpdate.maxUnavailable", 1),
    (policies.enclosed, "Namespace", "metadata.labels", {}),
    (policies.enclosed, "NetworkPolicy", "spec.podSelector", {"matchLabels": {"app": "other"}}),
    (policies.enclosed, "NetworkPolicy", "spec.egress", [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": PORT}]),
    (
        policies.enclosed,
        "NetworkPolicy",
        "spec.egress",
        [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{}]}],
    ),
    (policies.enclosed, "NetworkPolicy", "spec.egress", [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]),
    (policies.enclosed, "NetworkPolicy", "spec.ingress", [{"from": [{"namespaceSelector": {}}], "ports": PORT}]),
    (policies.enclosed, "NetworkPolicy", "spec.ingress", [{"from": [{"namespaceSelector": ALL}], "ports": PORT}]),
    (policies.enclosed, "NetworkPolicy", "spec.ingress", [{"from": [{"namespaceSelector": ONE}], "ports": PORT}]),
    (policies.published, "Service", "spec.type", "NodePort"),
    (policies.published, "Service", "spec.externalIPs", ["10.1.1.1"]),
    (policies.published, "Ingress", "spec.tls", None),
    (policies.published, "Ingress", "spec.defaultBackend", {"service": {"name": "magnesium-cds"}}),
    (policies.published, "Ingress", "spec.rules.0.http.paths.0.path", "/"),
    (policies.published, "Ingress", "spec.rules.0.http.paths.0.path", "/metrics"),
    (policies.published, "Ingress", "spec.rules.0.http.paths.0.path", "/docs"),
    (policies.published, "Ingress", "spec.rules.0.http.paths.0.pathType", "ImplementationSpecific"),
    (policies.published, "Ingress", "metadata.annotations", {**policies.INGRESS, "nginx.org/hsts": "false"}),
    (policies.published, "Ingress", "metadata.annotations", {**policies.INGRESS, "nginx.org/server-snippets": "x"}),
    (policies.published, "Ingress", "metadata.annotations", {**policies.INGRESS, "nginx.org/rewrites": "x"}),
    (policies.secretless, "Namespace", "kind", "Secret"),
    (policies.secretless, "Namespace", ":", {"kind": "ConfigMap", "data": {"url": "postgresql://mg:pass@db/mg"}}),
    (policies.secretless, "Deployment", f"{WEB}.envFrom", [{"secretRef": {"name": "database"}}]),
    (
        policies.secretless,
        "Deployment",
        "spec.template.spec.volumes.1.secret.secretName",
        "magnesium-cds-database-owner",
    ),
    (policies.labelled, "ServiceMonitor", "metadata.labels", {}),
    (policies.pinned, "Deployment", f"{WEB}.image", "registry.example/magnesium-cds:latest"),
    (policies.wired, "Deployment", "spec.template.spec.volumes.0.configMap.name", "other"),
    (policies.wired, "Deployment", "spec.template.spec.volumes", None),
    (policies.wired, "Deployment", f"{WEB}.envFrom.0.configMapRef.name", "other"),
    (policies.wired, "Deployment", "spec.replicas", 3),
    (policies.wired, "HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "other"),
)


@pytest.mark.parametrize(("policy", "kind", "where", "value"), FAULTS)
def test_policy_sees_the_fault(policy: Policy, kind: str, where: str, value: Any) -> None:
    manifests = as_written()
    before = list(policy(manifests))
    _put(of_kind(manifests, kind)[0], where, value)
    assert set(policy(manifests)) - set(before)


def _put(manifest: Manifest, where: str, value: Any) -> None:
    if where == ":":
        manifest.update(value)
        return
    *path, last = [int(step) if step.isdigit() else step for step in where.split(".")]
    at: Any = manifest
    for step in path:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_is_valid_kubernetes(name: str, version: str) -> None:
    manifests = overlay(name)
    if not importlib.util.find_spec("kubernetes_validate"):
        without(
            "kubernetes-validate is not installed: the manifests were NOT checked against the schemas of Kubernetes"
        )
    validate = importlib.import_module("kubernetes_validate").validate
    for manifest in manifests:
        if manifest["kind"] not in OTHER_SCHEMAS:
            validate(manifest, version, strict=True)


def test_schemas_see_a_misspelt_field() -> None:
    if not importlib.util.find_spec("kubernetes_validate"):
        without("kubernetes-validate is not installed")
    module = importlib.import_module("kubernetes_validate")
    deployment = of_kind(as_written(), "Deployment")[0]
    _put(deployment, f"{WEB}.readOnlyRootFilesystem", True)
    with pytest.raises(module.ValidationError):
        module.validate(deployment, NEWEST, strict=True)


# ── what the service itself says ─────────────────────────────────────────────────────────────────────────────────────


def settings_of(manifests: list[Manifest], folder: Path) -> Settings:
    """Load what the pods are given, as the service would: its environment, its site file, a database URL in a file."""
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(manifests, "ConfigMap")}
    name, _, pod = next(pods(of_kind(manifests, "Deployment")))
    environ = dict(maps[pod["containers"][0]["envFrom"][0]["configMapRef"]["name"]])
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    files = (
        ("MAGNESIUM_CDS_SITE", _site(maps, pod)),
        ("DATABASE_URL_FILE", DATABASE),
        ("MAGNESIUM_CDS_SECRET_FILE", "s" * 32),
    )
    for variable, content in files:
        path = Path(environ[variable])
        assert str(path.parent) in mounts, f"{name}: nothing is mounted where {variable} points"
        (folder / path.name).write_text(content, encoding="utf-8")
        environ[variable] = str(folder / path.name)
    return load(environ, site_schema())


def _site(maps: dict[str, dict[str, str]], pod: Manifest) -> str:
    sites = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    return maps[sites[0]]["site.toml"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_service_starts_with_what_the_overlay_gives_it(name: str, tmp_path: Path) -> None:
    manifests = overlay(name)
    settings = settings_of(manifests, tmp_path)
    ports = next(pods(of_kind(manifests, "Deployment")))[2]["containers"][0]["ports"]
    assert settings.authenticates
    assert (settings.host, settings.port) == ("0.0.0.0", ports[0]["containerPort"])  # noqa: S104  inside a pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_ingress_fits_the_site_file(name: str, tmp_path: Path) -> None:
    manifests = overlay(name)
    service = settings_of(manifests, tmp_path).service
    ingress = of_kind(manifests, "Ingress")[0]
    notes = ingress["metadata"]["annotations"]
    assert service.public_urls == tuple(f"https://{rule['host']}" for rule in ingress["spec"]["rules"])
    assert int(notes["nginx.org/client-max-body-size"].removesuffix("m")) * 2**20 >= service.max_body_bytes
    assert int(notes["nginx.org/proxy-read-timeout"].removesuffix("s")) * 1000 > service.deadline_ms


def test_ingress_publishes_what_is_called_and_nothing_of_the_inside() -> None:
    contract = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))["paths"]
    entries = of_kind(as_written(), "Ingress")[0]["spec"]["rules"][0]["http"]["paths"]
    open_paths = tuple(entry["path"] for entry in entries)
    closed = {path for path in contract if not path.startswith(open_paths)}
    pages = {"/", "/docs", "/docs/guide/{name}", "/openapi.yaml", "/samples", "/samples/{id}"}
    assert closed == {"/health/live", "/health/ready", "/metrics", *pages}


def test_handbook_says_what_the_ingress_publishes() -> None:
    handbook = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    row = re.findall(r"^\| Ingress \| (.*?) by TLS", handbook, re.MULTILINE)[0]
    assert set(re.findall(r"`(/\S+)`", row)) == policies.PUBLIC


@pytest.mark.parametrize("name", OVERLAYS)
def test_network_policies_let_the_service_read_its_fhir_servers(name: str, tmp_path: Path) -> None:
    manifests = overlay(name)
    blocks: list[Any] = [  # IPv4 or IPv6
        ip_network(peer["ipBlock"]["cidr"])
        for policy in of_kind(manifests, "NetworkPolicy")
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer and any(port["port"] == 443 for port in rule["ports"])
    ]
    for tenant in settings_of(manifests, tmp_path).tenants:
        for network in map(ip_network, map(str, tenant.fhir_networks)):
            assert any(network.subnet_of(block) for block in blocks), f"{tenant.name}: {network} cannot be reached"


def test_production_names_its_image_by_digest() -> None:
    for name, _, pod in pods(overlay("production")):
        assert all("@sha256:" in container["image"] for container in pod["containers"]), name


def test_namespaces_of_the_two_systems_are_apart() -> None:
    spaces = [{manifest["metadata"].get("namespace") for manifest in overlay(name)} - {None} for name in OVERLAYS]
    assert spaces == [{"magnesium-cds"}, {"magnesium-cds-test"}]


def test_every_yaml_file_of_deploy_can_be_read() -> None:
    for file in DEPLOY.rglob("*.yaml"):
        assert list(yaml.safe_load_all(file.read_text(encoding="utf-8"))), file
