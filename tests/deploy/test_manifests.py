"""What the deployments promise: probes that fit, nothing writable but the data, time to drain, keys by reference."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
MANIFESTS = {
    name: list(yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text()))
    for name in ("sidecar", "fleet")
}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def one(manifest: str, kind: str) -> dict[str, Any]:
    """The one resource of that kind in a manifest."""
    [found] = [resource for resource in MANIFESTS[manifest] if resource["kind"] == kind]
    assert isinstance(found, dict)
    return found


def pod(manifest: str) -> dict[str, Any]:
    """The pod that runs the gateway."""
    spec = one(manifest, {"sidecar": "Deployment", "fleet": "StatefulSet"}[manifest])["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def gateway(manifest: str) -> dict[str, Any]:
    """The gateway's container."""
    containers = pod(manifest).get("initContainers", []) + pod(manifest)["containers"]
    [found] = [container for container in containers if container["name"] == "trackgate"]
    assert isinstance(found, dict)
    return found


def routes(manifest: str) -> dict[str, Any]:
    """The configuration that a manifest hands to its gateway."""
    return tomllib.loads(one(manifest, "ConfigMap")["data"]["routes.toml"])


def seconds(text: str) -> int:
    """``"20s"`` as a number."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found
    return int(found[1])


both = pytest.mark.parametrize("manifest", MANIFESTS)


@both
def test_nothing_is_writable_but_the_data(manifest: str) -> None:
    """Not root, no capabilities, a read-only root; a volume at the place that the image names."""
    held = {**pod(manifest)["securityContext"], **gateway(manifest)["securityContext"]}
    assert held["runAsNonRoot"] is True
    assert held["runAsUser"] == held["runAsGroup"] == held["fsGroup"] == 65532
    assert held["readOnlyRootFilesystem"] is True
    assert held["allowPrivilegeEscalation"] is False
    assert held["capabilities"] == {"drop": ["ALL"]}
    writable = [mount["mountPath"] for mount in gateway(manifest)["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/data"]


@both
def test_no_service_writes_into_its_environment(manifest: str) -> None:
    """A Service named trackgate would set TRACKGATE_PORT=tcp://..."""
    assert pod(manifest)["enableServiceLinks"] is False


@both
def test_there_is_time_to_drain(manifest: str) -> None:
    """The platform waits longer than its own pause and the gateway's grace together."""
    pause = gateway(manifest).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod(manifest)["terminationGracePeriodSeconds"] > pause + seconds(routes(manifest)["server"]["grace"])


@both
def test_keys_are_files_of_a_secret_that_is_not_written_here(manifest: str) -> None:
    """A rotated Secret reaches the file, and the file is read again: an environment variable would stay as it was."""
    text = one(manifest, "ConfigMap")["data"]["routes.toml"]
    assert set(re.findall(r"^ *key += +(.*)$", text, re.MULTILINE)) <= set(
        re.findall(r'"\$\{file:/run/secrets/trackgate/[a-z-]+\}"', text)
    )
    assert not [resource for resource in MANIFESTS[manifest] if resource["kind"] == "Secret"]
    [mount] = [mount for mount in gateway(manifest)["volumeMounts"] if mount["mountPath"] == "/run/secrets/trackgate"]
    assert "subPath" not in mount, "a subPath never sees the new file"


@both
def test_the_image_is_this_version(manifest: str) -> None:
    assert gateway(manifest)["image"] == COMPOSE["services"]["trackgate"]["image"] == f"trackgate:{VERSION}"


def test_the_sidecar_is_native_and_probed_by_exec_only() -> None:
    """It outlives the app it serves, and its own troubles never take the app's pod out of service."""
    container = gateway("sidecar")
    assert container in pod("sidecar")["initContainers"]
    assert container["restartPolicy"] == "Always"
    assert {name for name in container if name.endswith("Probe")} == {"startupProbe", "livenessProbe"}
    assert (
        container["startupProbe"]["exec"] == container["livenessProbe"]["exec"] == {"command": ["trackgate", "health"]}
    )


def test_the_sidecar_listens_on_loopback_where_no_app_does() -> None:
    """A port out of the registered range and below the ephemeral one of Linux would be best; unlikely is enough."""
    [listen] = [each["value"] for each in gateway("sidecar")["env"] if each["name"] == "TRACKGATE_LISTEN"]
    host, _, port = listen.partition(":")
    assert ipaddress.ip_address(host).is_loopback
    assert 1024 < int(port) < 65536
    assert int(port) not in {3000, 4000, 5000, 8000, 8080, 8081, 8443, 8888, 9000, 9090, 15000, 15001}
    assert "ports" not in gateway("sidecar")
    assert f"http://{listen}" in [each["value"] for each in pod("sidecar")["containers"][0]["env"]]


def test_the_fleet_is_probed_over_http() -> None:
    """Live without looking at anything else; ready only when it can keep its promise."""
    container = gateway("fleet")
    assert container["startupProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert routes("fleet")["server"]["listen"] == f"0.0.0.0:{container['ports'][0]['containerPort']}"


def test_each_of_the_fleet_has_a_volume_of_its_own_that_stays() -> None:
    """Events that are owed outlive the pod, the scaling down and the deletion."""
    spec = one("fleet", "StatefulSet")["spec"]
    [claim] = spec["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/data"} in gateway("fleet")["volumeMounts"]
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert one("fleet", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_every_selector_finds_the_gateways() -> None:
    """Services, budget and set mean the same pods."""
    spec = one("fleet", "StatefulSet")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    selectors = [
        resource["spec"]["selector"] for resource in MANIFESTS["fleet"] if "selector" in resource.get("spec", {})
    ]
    assert all(selector.get("matchLabels", selector) == labels for selector in selectors)
    assert spec["serviceName"] in {r["metadata"]["name"] for r in MANIFESTS["fleet"] if r["kind"] == "Service"}


def test_the_fleet_and_compose_have_the_same_routes() -> None:
    """One file, shown and mounted; the copy in the ConfigMap does not drift."""
    assert one("fleet", "ConfigMap")["data"]["routes.toml"] == (DEPLOY / "routes.toml").read_text()
    assert COMPOSE["configs"] == {"routes": {"file": "routes.toml"}}


def test_compose_holds_the_container_as_tightly() -> None:
    """And gives it time to drain, and its keys as files."""
    service = COMPOSE["services"]["trackgate"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["outbox:/data"]
    assert seconds(service["stop_grace_period"]) > seconds(routes("fleet")["server"]["grace"])
    targets = {secret["target"] for secret in service["secrets"]}
    assert targets == set(re.findall(r"\$\{file:(.*?)\}", (DEPLOY / "routes.toml").read_text()))
