"""What can be said of deploy/ without running it: linters, schemas, and that it speaks of settings that exist.

The tools come as Python packages (extra `dev`): hadolint; Helm's own code, which lints and renders the chart; the
schemas of Kubernetes; the model of the Compose specification.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshwright.weights.store import VARIABLE

yaml = pytest.importorskip("yaml", reason="needs the extra dev")

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "meshwright"

BACKENDS = {
    "backends": {
        "databaseUrl": "postgresql+psycopg://u:p@db:5432/n",
        "brokerUrl": "redis://redis/0",
        "accessKeyId": "id",
        "secretAccessKey": "secret",
    },
    "storage": {"url": "s3://bucket/prefix", "endpoint": "http://storage:8333"},
}
VALUES: dict[str, dict[str, Any]] = {
    "least": BACKENDS,
    "everything": BACKENDS
    | {
        "autoscaling": {"enabled": True},
        "ingress": {"enabled": True, "className": "nginx", "host": "mesh.example", "tlsSecret": "tls"},
        "monitoring": {"serviceMonitor": True},
        "networkPolicy": {"enabled": True},
        "worker": {"gpu": {"enabled": True, "runtimeClassName": "nvidia"}, "tolerations": [{"operator": "Exists"}]},
        "api": {"nodeSelector": {"kubernetes.io/arch": "amd64"}, "podAnnotations": {"a": "b"}},
        "weights": {"existingClaim": "weights"},
        "imagePullSecrets": [{"name": "pull"}],
        "settings": {"MESHWRIGHT_RETENTION": "30d"},
    },
    "own secret": {"existingSecret": "mine", "storage": {"url": "s3://bucket"}, "api": {"replicas": 1}},
}
OF_OTHERS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""Kinds whose schemas are those of other programs, which no package has."""


def of_meshwright(text: str) -> set[str]:
    return set(re.findall(r"\bMESHWRIGHT_[A-Z0-9_]+", text))


def known_settings() -> set[str]:
    settings = pytest.importorskip("meshwright.service.settings", reason="needs the extra service")
    return {f"MESHWRIGHT_{name.upper()}" for name in settings.Settings.model_fields}


def test_dockerfile_has_no_finding() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra dev)")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_builds_from_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert {"cpu", "cuda"} <= targets
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
        ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
        assert all(f"!{source.removeprefix('./')}" in ignored for source in sources)
    # Whatever is built, it is built on the root-less stage.
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert not re.search(r"^USER (root|0)", text, re.MULTILINE)
    assert of_meshwright(text) <= known_settings() | {VARIABLE}


def compose(**values: str) -> dict[str, Any]:
    """The compose file as Compose reads it: merges done, variables filled in."""

    def fill(match: re.Match[str]) -> str:
        name, default = match[1], match[2] or ""
        return values.get(name, "" if default.startswith(":?") else default.removeprefix(":-"))

    text = re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", fill, (DEPLOY / "compose.yaml").read_text())
    document = yaml.safe_load(text)
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def test_compose_file_follows_the_specification() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="needs the extra dev")
    document = compose(POSTGRES_PASSWORD="a", STORAGE_ACCESS_KEY="b", STORAGE_SECRET_KEY="c")
    read = compose_spec.PyCompose.from_yaml(yaml.safe_dump(document))
    read.validate()
    assert set(read.service_names()) == set(document["services"])


def test_compose_file_starts_in_order_and_knows_when_parts_are_well() -> None:
    services = compose()["services"]
    assert set(services) == {"api", "worker", "worker-gpu", "redis", "postgres", "storage", "bucket"}
    assert services["worker"]["profiles"] == ["cpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    for name, service in services.items():
        if name != "bucket":
            assert service["healthcheck"]["test"], f"{name} has no health check"
        assert ":" in service["image"] and not service["image"].endswith(":latest")
        for other, wanted in service.get("depends_on", {}).items():
            how = wanted["condition"]
            assert how == ("service_completed_successfully" if other == "bucket" else "service_healthy")
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in compose()["volumes"]
    for name in ("api", "worker", "worker-gpu"):
        assert {key for key in services[name]["environment"] if key.startswith("MESHWRIGHT_")} <= known_settings()


def test_secrets_of_the_compose_file_have_no_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / "example.env").read_text()
    variables = set(re.findall(r"\$\{(\w+)", text))
    assert variables == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    for name in ("POSTGRES_PASSWORD", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"):
        assert f"${{{name}:?" in text
        assert f"\n{name}=\n" in example


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    helm = pytest.importorskip("helm_python", reason="needs the extra dev")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="demo", namespace="prod")
    return [
        document
        for name, text in sorted(files.items())
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    helm = pytest.importorskip("helm_python", reason="needs the extra dev")
    findings = helm.lint(str(CHART), BACKENDS, strict=True)
    assert findings["errors"] == []
    assert [found["error"] for found in findings["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("version", ["1.27", "1.34"])
def test_chart_renders_to_what_kubernetes_takes(values: str, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="needs the extra dev")
    seen = set()
    for document in render(VALUES[values]):
        seen.add(document["kind"])
        if document["apiVersion"] not in OF_OTHERS:
            schemas.validate(document, version, strict=True)
    assert {"ConfigMap", "Deployment", "Service", "ServiceAccount"} <= seen
    assert ("Secret" in seen) == (values != "own secret")
    assert ({"ScaledObject", "TriggerAuthentication", "ServiceMonitor"} <= seen) == (values == "everything")


def test_pods_have_no_rights_and_know_only_settings_that_exist() -> None:
    documents = render(VALUES["everything"])
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    assert len(deployments) == 2
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "livenessProbe" in container
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
    names = {
        name
        for document in documents
        if document["kind"] in ("ConfigMap", "Secret")
        for name in document.get("data", document.get("stringData", {}))
    }
    assert {name for name in names if name.startswith("MESHWRIGHT_")} <= known_settings()


def test_workers_scale_with_the_job_table() -> None:
    documents = {
        document["kind"]: document for document in render(VALUES["everything"]) if document["kind"] != "Deployment"
    }
    (trigger,) = documents["ScaledObject"]["spec"]["triggers"]
    tables = pytest.importorskip("meshwright.service.store.tables", reason="needs the extra service")
    found = re.fullmatch(
        r"SELECT COUNT\(\*\) FROM (\w+) WHERE (\w+) IN \('queued', 'processing'\)", trigger["metadata"]["query"]
    )
    assert found is not None
    metadata = next(value for value in vars(tables).values() if type(value).__name__ == "MetaData")
    assert found[2] in metadata.tables[found[1]].columns
    assert documents["Secret"]["stringData"]["SCALER_DATABASE_URL"] == "postgresql://u:p@db:5432/n"
    worker = next(
        document
        for document in render(VALUES["everything"])
        if document["kind"] == "Deployment" and document["metadata"]["name"].endswith("worker")
    )
    assert "replicas" not in worker["spec"]  # else every upgrade would undo the scaling
    assert worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert documents["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "is needed"),
        (BACKENDS | {"storage": {"url": "/srv/files"}}, "storage"),
        (BACKENDS | {"backends": {"databaseUrl": "sqlite:///x"}}, "databaseUrl"),
        (BACKENDS | {"settings": {"MESHWRIGHT_LEASE_S": 30}}, "settings"),
        (BACKENDS | {"replicas": 3}, "replicas"),
    ],
)
def test_chart_refuses_values_that_cannot_work(values: dict[str, Any], message: str) -> None:
    helm = pytest.importorskip("helm_python", reason="needs the extra dev")
    with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm.HelmError, match=message):
        chart.validate_schema(values)
        chart.render(values, name="demo")


def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    """Only where Docker Compose is; it needs no daemon for that."""
    program = shutil.which("docker-compose")
    command = [program] if program else ["docker", "compose"]
    try:
        subprocess.run([*command, "version"], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Docker Compose is not installed")
    secrets = tmp_path / "env"
    secrets.write_text("POSTGRES_PASSWORD=a\nSTORAGE_ACCESS_KEY=b\nSTORAGE_SECRET_KEY=c\n")
    done = subprocess.run(
        [*command, "--env-file", secrets, "-f", DEPLOY / "compose.yaml", "--profile", "*", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
