"""docker/ as far as it can be checked without a container engine: names, ports, files, versions, no rights too many."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.embedded import broker_jars, dagster_home
from lockgate.settings import ROOT, Settings

DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("lockgate:"))
DOCKERFILE = (DOCKER / "Dockerfile").read_text()

# Read by Dagster and by docker/dagster/dagster.yaml, not by us.
DAGSTER_VARIABLES = {"DAGSTER_POSTGRES_URL", "DAGSTER_HOME"}


def instructions(name: str) -> list[str]:
    """Arguments of each instruction of the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} +(.*)$", joined, re.MULTILINE)


# --- compose.yml ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_an_image_of_a_version_and_is_started_again(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
    assert not service["image"].endswith(":latest")
    assert service["restart"] in ("unless-stopped", "on-failure")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"prepare", "proxy"}))
def test_a_service_says_whether_it_is_healthy(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= check.keys()


def test_health_checks_in_python_compile() -> None:
    for name, service in SERVICES.items():
        test = service.get("healthcheck", {}).get("test", [])
        if "python" in test:
            compile(test[-1], name, "exec")


def test_no_two_services_take_a_port_and_none_is_open_to_the_network() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    outside = [port.split(":")[1] for port in published]
    assert len(set(outside)) == len(outside)


def test_the_login_is_the_only_way_to_dagster() -> None:
    assert "ports" not in SERVICES["dagster-webserver"]
    assert "ports" not in SERVICES["dagster-code"]
    port = SERVICES["dagster-webserver"]["command"][SERVICES["dagster-webserver"]["command"].index("--port") + 1]
    caddy = (DOCKER / "proxy" / "Caddyfile").read_text()
    assert f"reverse_proxy dagster-webserver:{port}" in caddy
    assert "basic_auth {" in caddy


@pytest.mark.parametrize("name", OURS)
def test_our_services_get_settings_that_we_read(name: str) -> None:
    known = {info.alias or f"LOCKGATE_{field.upper()}" for field, info in Settings.model_fields.items()}
    assert not set(SERVICES[name]["environment"]) - known - DAGSTER_VARIABLES


def test_our_settings_can_be_used_as_compose_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With passwords filled in, the addresses are those of the services beside us."""
    for variable, value in SERVICES["worker"]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{[A-Z_]+(?::-([^}]*)|[^}]*)\}", r"\1", value) or "x")
    monkeypatch.setenv("CLICKHOUSE_URL", "http://lockgate:secret@clickhouse:8123")
    settings = Settings()
    assert [settings.embedded_kafka, settings.embedded_clickhouse, settings.embedded_postgres] == [False] * 3
    assert settings.clickhouse().host in SERVICES
    assert str(settings.kafka()["bootstrap.servers"]).partition(":")[0] in SERVICES
    assert settings.first_hour is not None


def test_services_wait_for_services_that_are_there() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"


def test_volumes_are_declared_and_mounted_files_exist() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            found = (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert found, f"{name} mounts {source}"
    used = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_what_must_be_set_is_in_the_example() -> None:
    text = (DOCKER / "compose.yml").read_text()
    example = set(re.findall(r"^([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == example
    assert set(re.findall(r"\$\{([A-Z_]+):\?", text)) <= example


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_no_rights_to_gain(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]
    assert not SERVICES[name].get("privileged")


# --- versions and files that must agree ----------------------------------------------------------------------------


def test_kafka_is_the_version_of_the_embedded_broker() -> None:
    (version,) = set(
        re.findall(r"org\.apache\.kafka:kafka_2\.13:([\d.]+)\s*$", broker_jars.LIST.read_text(), re.MULTILINE)
    )
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_dagsters_instance_is_the_embedded_one() -> None:
    ours = yaml.safe_load((DOCKER / "dagster" / "dagster.yaml").read_text())
    filled = {"postgres_url": '"p"', "artifacts": '"a"', "compute_logs": '"c"'}
    launcher = dagster_home._LAUNCHER.format(module=dagster_home.RUN_LAUNCHER)
    embedded = yaml.safe_load(dagster_home._INSTANCE.format(**filled) + launcher)
    for document in (ours, embedded):
        for place in ("storage", "local_artifact_storage", "compute_logs"):
            document.pop(place)
    assert ours == embedded


def test_dagster_finds_the_code_server() -> None:
    (location,) = yaml.safe_load((DOCKER / "dagster" / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    command = SERVICES[server["host"]]["command"]
    assert f"--port={server['port']}" in command
    assert f"--module-name={dagster_home.MODULE}" in command
    assert f"--location-name={server['location_name']}" in command
    assert server["location_name"] == dagster_home.LOCATION


def test_postgres_makes_the_databases_that_we_use() -> None:
    from lockgate import names

    made = re.findall(r"CREATE DATABASE (\w+);", (DOCKER / "postgres" / "databases.sql").read_text())
    assert set(made) == {names.LEDGER_DATABASE, names.DAGSTER_DATABASE}


# --- the Dockerfile ------------------------------------------------------------------------------------------------


def test_the_image_ends_as_a_user_without_rights() -> None:
    assert instructions("USER") == ["lockgate"]
    assert DOCKERFILE.rindex("USER lockgate") < DOCKERFILE.rindex("CMD [")
    assert not [line for line in instructions("RUN") if "chmod 777" in line or "sudo" in line]


def test_the_image_is_built_from_a_spelled_out_base_and_the_hashed_lock() -> None:
    (python,) = instructions("ARG")
    assert re.fullmatch(r"PYTHON=3\.1[123]-slim-\w+", python)
    assert all(line.startswith("python:${PYTHON} AS ") for line in instructions("FROM"))
    installs = [line for line in instructions("RUN") if re.search(r"\b(pip|uv|apt|apt-get|curl|wget)\b", line)]
    assert installs == [], "everything is installed by bootstrap.sh"
    assert [line for line in instructions("RUN") if "sh bootstrap.sh" in line]


def test_nothing_is_added_from_elsewhere_and_no_password_is_baked_in() -> None:
    assert instructions("ADD") == []
    assert not re.search(r"(?i)^(ENV|ARG).*(password|secret|token)", DOCKERFILE, re.MULTILINE)


def test_copied_files_exist_and_reach_the_builder() -> None:
    allowed = [
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    sources = [path for line in instructions("COPY") if not line.startswith("--from") for path in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert [a for a in allowed if Path(source).is_relative_to(a)], f"{source} is ignored"


def test_all_our_packages_are_in_the_image() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    copied = {path.rstrip("/") for line in instructions("COPY") for path in line.split()[:-1]}
    assert packages <= copied
