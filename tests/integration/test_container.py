"""The image of deploy/container, built from the wheel and run without a container engine, and its compose.yaml."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orderflow import settings as settings_module
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.jvm import jars
from orderflow.settings import Settings
from tests.support import containers, lifeline, wheels
from tests.support.containers import Buildah
from tests.support.processes import ROOT, TIMEOUT, run, until
from tests.support.prometheus import get

FOLDER = ROOT / "deploy/container"
IMAGE = "localhost/orderflow"
# It reads YAML, and includes the schema of the Compose specification.
_CHECKER = "check-jsonschema==0.39.0"
_READ = """
import json, sys
from importlib.resources import files
from ruamel.yaml import YAML
schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text("utf-8"))
print(json.dumps([schema, YAML(typ="safe").load(sys.stdin)]))
"""


@pytest.fixture
def no_system_certificates() -> None:
    """Keep the system's certificates, because an image's build downloads packages."""


@pytest.fixture(scope="module")
def schema_and_compose() -> list[Any]:
    result = subprocess.run(
        [sys.executable, "-m", "uv", "tool", "run", "--from", _CHECKER, "python", "-c", _READ],
        input=(FOLDER / "compose.yaml").read_text("utf-8"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    documents: list[Any] = json.loads(result.stdout)
    return documents


@pytest.fixture
def compose(schema_and_compose: list[Any]) -> dict[str, Any]:
    document: dict[str, Any] = schema_and_compose[1]
    return document


def test_compose_follows_the_specification(schema_and_compose: list[Any]) -> None:
    schema, compose = schema_and_compose
    jsonschema.validate(compose, schema)
    compose["services"]["sink"]["comand"] = ["sink"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)


def test_compose_refers_to_existing_names(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"kafka", "mysql", "sink", "dashboard"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        named = {volume.split(":")[0] for volume in service["volumes"]}
        assert named <= set(compose["volumes"])
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or name.endswith("_FILE"), name
            if value.startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"]
    settings = {name.upper() for name in settings_module.names()}
    for name in ("sink", "dashboard"):
        assert set(services[name]["environment"]) <= settings
        assert services[name]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
        build = services[name]["build"]
        assert (FOLDER / build["context"] / build["dockerfile"]).samefile(FOLDER / "Dockerfile")
    assert "INSIDE://kafka:9092" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    mounted = {secret["file"] for secret in compose["secrets"].values()}
    listed = re.findall(r"for name in (.*); do", (FOLDER / "compose.yaml").read_text("utf-8"))
    assert mounted == {f"./secrets/{name}" for name in listed[0].split()}


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """Return buildah with the image."""
    containers.skip_if_unsupported()
    with tempfile.TemporaryDirectory(prefix="orderflow-test-") as folder:
        lifeline.remove_at_end(Path(folder))
        builder = Buildah(Path(folder))
        context = Path(folder) / "clone"
        (context / "dist").mkdir(parents=True)
        wheels.build(wheels.own_platform(), context / "dist")
        for name in ("requirements.txt", "requirements-build.txt"):
            shutil.copy(ROOT / name, context)
        shutil.copy(FOLDER / "Dockerfile", context)
        builder.debian("localhost/base", ["ca-certificates", "python3", "python3-venv"])
        builder.build(IMAGE, context / "Dockerfile", context, BASE="localhost/base")
        yield builder


class Container:
    """A container of the image on this machine's network, with a secret in a file and the settings of the servers."""

    def __init__(self, buildah: Buildah, settings: Settings, folder: Path) -> None:
        self._buildah, self._folder = buildah, folder
        self._name = buildah("from", IMAGE)
        environment = {
            name: value for name, value in settings.environment().items() if name.startswith(("KAFKA_", "MYSQL_"))
        }
        (folder / "mysql-password").write_text(environment.pop("MYSQL_PASSWORD"))
        environment["MYSQL_PASSWORD_FILE"] = "/run/secrets/mysql-password"
        self._options = ["--network", "host", f"--volume={buildah.inside(folder)}:/run/secrets:ro"]
        self._options += [f"--env={name}={value}" for name, value in environment.items() if value]
        self._options += [f"--volume={buildah.inside(folder.parent / 'jars')}:/var/cache/orderflow/jars:ro"]

    def argv(self, *command: str, **environ: str) -> list[str]:
        options = [*self._options, *(f"--env={name}={value}" for name, value in environ.items())]
        return self._buildah.argv("run", *options, self._name, "--", *command)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*command, **environ), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )

    @contextmanager
    def running(self, *command: str, **environ: str) -> Iterator[Process]:
        log = self._folder.parent / "command.log"
        process = Process("the command in the container", self.argv(*command, **environ), log=log)
        process.start()
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.long  # takes ten minutes: it installs Debian and all packages
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_the_image_stores_orders_and_serves_the_dashboard(
    buildah: Buildah, settings: Settings, compose: dict[str, Any]
) -> None:
    folder = buildah.work / "container"
    (folder / "secrets").mkdir(parents=True)
    (folder / "jars").mkdir()
    for jar in jars.spark_paths():
        shutil.copy(jar, folder / "jars")
    container = Container(buildah, settings, folder / "secrets")
    configuration = buildah.configuration(IMAGE)
    command = [*configuration["Entrypoint"], *configuration["Cmd"]]
    kind, *is_healthy = configuration["Healthcheck"]["Test"]
    assert (command, kind) == (["orderflow", "sink"], "CMD")

    result = container.run("sh", "-c", "id -u; command -v cc gcc clang; python -m ziglang version; orderflow --version")
    user, *versions = result.stdout.splitlines()
    assert (result.returncode, user) == (0, "10001"), result.stderr
    assert len(versions) == 5 and "not installed" not in result.stdout
    compiled = "from orderflow.contract import native; print(native.IS_COMPILED)"
    assert container.run("python", "-c", compiled).stdout == "True\n"

    def stored() -> int:
        status_result = run(settings, "status", "--json", cwd=folder)
        return int(json.loads(status_result.stdout)["stored"]) if status_result.returncode == 0 else -1

    def produce() -> None:
        assert run(settings, "produce", "--count", "1000", cwd=folder).returncode == 0

    port = str(free_port())
    produce()
    assert container.run(*is_healthy, SINK_METRICS_PORT=port).returncode  # no server listens on this port
    with container.running(*command, "--engine", "direct", SINK_METRICS_PORT=port) as sink:
        until(lambda: stored() == 1000, sink)
        until(lambda: container.run(*is_healthy, SINK_METRICS_PORT=port).returncode == 0, sink)

    produce()
    by_spark = container.run(*command, "--once", SINK_METRICS_PORT=port)
    assert by_spark.returncode == 0, by_spark.stderr
    assert stored() == 2000
    assert container.run("orderflow", "audit").returncode == 0

    token = "a-token-of-many-characters"
    (folder / "secrets/dashboard-token").write_text(f"{token}\n")
    service = compose["services"]["dashboard"]
    dashboard = [*configuration["Entrypoint"], *service["command"]]
    environ = {name: value for name, value in service["environment"].items() if name.startswith("DASHBOARD_")}
    kind, *is_healthy = service["healthcheck"]["test"]
    port = str(free_port())
    is_healthy[-1] = is_healthy[-1].replace("8765", port)
    with container.running(*dashboard, DASHBOARD_PORT=port, **environ) as page:
        until(lambda: container.run(*is_healthy).returncode == 0, page)
        metrics = f"http://127.0.0.1:{port}/metrics"
        assert get(metrics)[0] == 401
        status, text = get(metrics, Authorization=f"Bearer {token}")
        assert status == 200 and "orderflow" in text
