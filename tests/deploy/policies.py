"""The policies that every manifest keeps: each takes the manifests and yields what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from tests.deploy.manifests import Manifest, of_kind, pods

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
INSIDE_ONLY = ("/metrics", "/health")


def restricted(manifests: list[Manifest]) -> Iterator[str]:
    """Pod Security Standard "restricted", https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    for name, _, pod in pods(manifests):
        yield from (f"{name}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
        for volume in pod.get("volumes", ()):
            if volume.keys() - {"name"} - VOLUMES:
                yield f"{name}: volume {volume['name']} is of a kind that is not allowed"
        for container in _containers(pod):
            yield from (f"{name}: {reason}" for reason in _unrestricted(container, pod.get("securityContext", {})))


def _unrestricted(container: Manifest, of_pod: Manifest) -> Iterator[str]:
    own: Manifest = container.get("securityContext", {})
    both = {**of_pod, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "hostPort"


def hardened(manifests: list[Manifest]) -> Iterator[str]:
    """What we ask beyond that standard: nothing to write on, no identity in the cluster, bounds on resources."""
    for name, _, pod in pods(manifests):
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: a token of the cluster is mounted"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name}: the environment names every Service of the namespace"
        for container in _containers(pod):
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{name}: the root file system can be written"
            resources = container.get("resources", {})
            for bound in ("requests", "limits"):
                yield from (
                    f"{name}: no {bound}.{what}" for what in ("cpu", "memory") if not resources.get(bound, {}).get(what)
                )


def probed(manifests: list[Manifest]) -> Iterator[str]:
    """The three probes, on a named port; liveness asks nothing but whether the process answers."""
    for name, _, pod in pods(of_kind(manifests, "Deployment")):
        for container in _containers(pod):
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {}).get("httpGet", {})
                if asked.get("port") not in ports:
                    yield f"{name}: {probe} is missing or asks a port that is not there"
            if container.get("livenessProbe", {}).get("httpGet", {}).get("path") != "/health/live":
                yield f"{name}: liveness depends on more than the process"


def drained(manifests: list[Manifest]) -> Iterator[str]:
    """A pod that leaves first waits until nobody sends to it, then has the 25 s of gunicorn's graceful_timeout."""
    for name, _, pod in pods(of_kind(manifests, "Deployment")):
        for container in _containers(pod):
            wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if wait < 2:
                yield f"{name}: TERM arrives while proxies still send to the pod"
            if pod.get("terminationGracePeriodSeconds", 30) < wait + 25 + 5:
                yield f"{name}: killed before its calls are answered"


def selecting(manifests: list[Manifest]) -> Iterator[str]:
    """Selectors select the web pods, all of them and nothing else: a Service must not send calls to the migration."""
    web = [labels for name, labels, _ in pods(of_kind(manifests, "Deployment"))]
    others = [labels for name, labels, _ in pods(of_kind(manifests, "Job"))]
    for manifest in of_kind(manifests, "Service", "Deployment", "PodDisruptionBudget"):
        selector: Any = manifest["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        if not all(_selects(selector, labels) for labels in web) or any(_selects(selector, each) for each in others):
            yield f"{manifest['kind']}: its selector {selector} is not that of the web pods"
    for name, labels, pod in pods(of_kind(manifests, "Deployment")):
        spread = [item["labelSelector"]["matchLabels"] for item in pod.get("topologySpreadConstraints", ())]
        if not spread or not all(_selects(selector, labels) for selector in spread):
            yield f"{name}: replicas may all land on one node"
    for manifest in of_kind(manifests, "ServiceMonitor"):
        selector = manifest["spec"]["selector"]["matchLabels"]
        services = [service["metadata"].get("labels", {}) for service in of_kind(manifests, "Service")]
        if not any(_selects(selector, labels | {"app.kubernetes.io/name": "magnesium-cds"}) for labels in services):
            yield "ServiceMonitor: selects no Service"


def wired(manifests: list[Manifest]) -> Iterator[str]:
    """What refers to something by name finds it."""
    known = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for name, _, pod in pods(manifests):
        yield from (f"{name}: there is no {config}" for config in _configs(pod) if ("ConfigMap", config) not in known)
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in _containers(pod):
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            yield from (f"{name}: there is no volume {volume}" for volume in mounted - volumes)
    for manifest in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = manifest["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in known:
            yield "HorizontalPodAutoscaler: there is nothing to scale"
    for manifest in of_kind(manifests, "Deployment"):
        if "replicas" in manifest["spec"]:
            yield "Deployment: what the autoscaler decided is reset"


def _configs(pod: Manifest) -> Iterator[str]:
    yield from (volume["configMap"]["name"] for volume in pod.get("volumes", ()) if "configMap" in volume)
    for container in _containers(pod):
        yield from (
            source["configMapRef"]["name"] for source in container.get("envFrom", ()) if "configMapRef" in source
        )


def available(manifests: list[Manifest]) -> Iterator[str]:
    """Two replicas at least, and never fewer while a node is emptied or a version is rolled out."""
    for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy", "Ingress", "Job", "Namespace"):
        if not of_kind(manifests, kind):
            yield f"there is no {kind}"
    for manifest in of_kind(manifests, "HorizontalPodAutoscaler"):
        if manifest["spec"]["minReplicas"] < 2:
            yield "HorizontalPodAutoscaler: one replica is none during an update of its node"
    for manifest in of_kind(manifests, "Deployment"):
        if manifest["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield "Deployment: a replica is taken away before its successor is ready"


def enclosed(manifests: list[Manifest]) -> Iterator[str]:
    """The namespace enforces the standard; the network denies by default and nothing is opened to everywhere."""
    for manifest in of_kind(manifests, "Namespace"):
        if manifest["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "Namespace: does not enforce the restricted standard"
    policies = [manifest["spec"] for manifest in of_kind(manifests, "NetworkPolicy")]
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if deny not in policies:
        yield "NetworkPolicy: nothing denies by default"
    for policy in policies:
        for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
            peers = rule.get("from") or rule.get("to") or [{}]
            if not rule.get("ports") or any(_everywhere(peer) for peer in peers):
                yield f"NetworkPolicy: a rule is open to everywhere: {rule}"


def _everywhere(peer: Manifest) -> bool:
    if "ipBlock" in peer:
        return ip_network(peer["ipBlock"]["cidr"]).prefixlen < 8
    return not (peer.get("namespaceSelector") or peer.get("podSelector"))


def published(manifests: list[Manifest]) -> Iterator[str]:
    """Ingress: only over TLS, for each host it names, and neither metrics nor health."""
    for manifest in of_kind(manifests, "Ingress"):
        secured = {host for entry in manifest["spec"].get("tls", ()) for host in entry["hosts"]}
        for rule in manifest["spec"]["rules"]:
            if rule.get("host") not in secured:
                yield f"Ingress: {rule.get('host')} is served without TLS"
            for path in rule["http"]["paths"]:
                if any(inside.startswith(path["path"]) for inside in INSIDE_ONLY):
                    yield f"Ingress: {path['path']} publishes what belongs inside"


def secretless(manifests: list[Manifest]) -> Iterator[str]:
    """No manifest holds a secret: no Secret, no password in an environment or in a ConfigMap; secrets come as files."""
    yield from (
        f"Secret {manifest['metadata']['name']} is in the manifests" for manifest in of_kind(manifests, "Secret")
    )
    for manifest in of_kind(manifests, "ConfigMap"):
        for key, value in manifest.get("data", {}).items():
            if re.search(r"PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@", value) or key in {"DATABASE_URL", "PASSWORD"}:
                yield f"ConfigMap: {key} holds a secret"
    for name, _, pod in pods(manifests):
        for container in _containers(pod):
            sources = (*container.get("env", ()), *container.get("envFrom", ()))
            if any("secretRef" in source or "secretKeyRef" in source.get("valueFrom", {}) for source in sources):
                yield f"{name}: a secret is in the environment"


def pinned(manifests: list[Manifest]) -> Iterator[str]:
    """Every pod runs the same image, by digest or by a full version."""
    images = {container["image"] for _, _, pod in pods(manifests) for container in _containers(pod)}
    if len(images) != 1:
        yield f"pods run different images: {sorted(images)}"
    for image in images:
        if not re.search(r"(@sha256:[0-9a-f]{64}|:\d+\.\d+\.\d+)$", image):
            yield f"{image}: neither a digest nor a version"


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def _selects(selector: Manifest, labels: Manifest) -> bool:
    return bool(selector) and selector.items() <= labels.items()


STRUCTURE = (restricted, hardened, probed, drained, selecting, available, enclosed, published, secretless)
"""Policies that hold for the files as they are written."""
RENDERED = (*STRUCTURE, wired, pinned)
"""And those that only what kustomize has put together can keep."""
