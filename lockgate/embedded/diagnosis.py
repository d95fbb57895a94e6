"""What `lockgate doctor` looks at: each check says what it found, and what mends it if that is not good."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from lockgate import names
from lockgate.clients.errors import ClientError
from lockgate.contracts import ContractError, load_contracts
from lockgate.contracts.baseline import in_force
from lockgate.embedded import broker_jars, postgres, warehouse_service
from lockgate.embedded.account import account_for
from lockgate.embedded.control import state_of
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import make_home
from lockgate.embedded.jars import check_jars
from lockgate.embedded.java import find_java
from lockgate.embedded.ports import holder, is_free
from lockgate.embedded.service import HealthError, Port
from lockgate.embedded.state import HEALTHY, StackState
from lockgate.settings import Settings, SettingsError

# The embedded stack with its downloads takes 1 GB; a year of the demo's data, its logs and one rebuild beside it fit too.
DISK_BYTES = 5 << 30
# Broker 1 GB, warehouse 0.7 GB, Dagster 1.5 GB, worker 1 GB, Spark 1.5 GB at its hour; measured on 2 cores.
MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `mend` is empty where nothing is wrong."""

    subject: str
    found: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        return not self.mend


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which one would mend them."""
    for check in (_python, _java, _home, _disk, _memory, _jars, _postgres_user, _contracts):
        yield _guarded(check, settings)
    state = state_of(settings.home_dir)
    running = state if state is not None and state.is_running else None
    yield from _embedded(settings, running)
    yield from _external(settings)


def _guarded(check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """A check that fails is a finding: our errors name the mend after the first colon, or in themselves."""
    try:
        return check(settings)
    except (StackError, SettingsError, ContractError, ClientError) as error:
        return Finding(check.__name__.strip("_").replace("_", " "), "not usable", str(error))


def _python(_settings: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "python", version, "" if good else "install Python 3.11, 3.12 or 3.13, remove .venv, run `make setup`"
    )


def _java(settings: Settings) -> Finding:
    java = find_java(settings)
    return Finding("java", f"{java.version} ({java.source}: {java.home})")


def _home(settings: Settings) -> Finding:
    make_home(settings.home_dir)
    return Finding("home", f"{settings.home_dir} can be written")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home_dir if settings.home_dir.exists() else settings.home_dir.anchor).free
    mend = (
        f"make room for {_gigabytes(DISK_BYTES)}, or choose another disk with LOCKGATE_HOME"
        if free < DISK_BYTES
        else ""
    )
    return Finding("disk", f"{_gigabytes(free)} free", mend)


def _memory(_settings: Settings) -> Finding:
    memory = psutil.virtual_memory()
    found = f"{_gigabytes(memory.available)} of {_gigabytes(memory.total)} available"
    mend = f"the whole stack needs {_gigabytes(MEMORY_BYTES)}: start it with --no-dagster, or end other programs"
    return Finding("memory", found, mend if memory.total < MEMORY_BYTES else "")


def _jars(settings: Settings) -> Finding:
    if not settings.embedded_kafka:
        return Finding("broker jars", "not needed: KAFKA_BOOTSTRAP_SERVERS is set")
    folder, kafka = broker_jars.jars_folder(settings), broker_jars.kafka()
    if not folder.exists():
        return Finding("broker jars", "not there yet; the first `lockgate up` brings them (44 MB)")
    check_jars(folder, kafka, mend=f"remove {folder}; `lockgate up` then downloads it anew")
    return Finding("broker jars", f"{len(kafka.jars)} in {folder}, each with the SHA-256 of the list")


def _postgres_user(settings: Settings) -> Finding:
    if not settings.embedded_postgres:
        return Finding("postgres user", "not needed: POSTGRES_URL is set")
    account = account_for([postgres.data_folder(settings), postgres.binary("postgres")])
    return Finding(
        "postgres user", "runs as us" if not account.prefix else f"we are root; it runs as {account.prefix[-1]}"
    )


def _contracts(settings: Settings) -> Finding:
    found = in_force(settings.contracts)
    contracts = found.all_of_them()
    mend = "; ".join(map(str, found.waiting.values()))
    return Finding("contracts", f"{len(contracts)} in {settings.contracts}: {', '.join(contracts)}", mend)


def _embedded(settings: Settings, running: StackState | None) -> Iterator[Finding]:
    """A running stack's services must be healthy; a stack that does not run needs its ports."""
    if running is not None:
        for service in running.services:
            mend = f"see `lockgate logs {service.name}`: {service.message}" if service.state != HEALTHY else ""
            yield Finding(service.name, f"{service.state} {service.address}".rstrip(), mend)
        return
    yield Finding("stack", "does not run; `lockgate up` starts it")
    seen: dict[int, Port] = {}
    for name, port in embedded_ports(settings):
        if other := seen.get(port.number):
            found = f"{port.number}, which {other.variable} names, too"
            yield Finding(f"port of {name}", found, f"choose another port with {port.variable}")
        elif is_free(port.number):
            yield Finding(f"port of {name}", f"{port.number} is free")
        else:
            found = f"{port.number} is taken by {holder(port.number)}"
            yield Finding(f"port of {name}", found, f"end that, or choose another port with {port.variable}")
        seen[port.number] = port


def embedded_ports(settings: Settings) -> list[tuple[str, Port]]:
    """The ports that `lockgate up` would bind."""
    ports = [("dagster-webserver", Port(settings.dagster_port, "LOCKGATE_DAGSTER_PORT"))]
    if settings.embedded_postgres:
        ports.append(("postgres", Port(settings.postgres_port, "LOCKGATE_POSTGRES_PORT")))
    if settings.embedded_kafka:
        ports.append(("broker", Port(settings.kafka_port, "LOCKGATE_KAFKA_PORT")))
        ports.append(("broker", Port(settings.kafka_controller_port, "LOCKGATE_KAFKA_CONTROLLER_PORT")))
    if settings.embedded_clickhouse:
        ports += [("warehouse", port) for port in warehouse_service.ports(settings)]
    return ports


def _external(settings: Settings) -> Iterator[Finding]:
    """Addresses of the environment are asked, with the credentials that stand in them."""
    if not settings.embedded_kafka:
        broker = _guarded(_your_broker, settings)
        yield broker
        if broker.ok:
            yield _guarded(_your_group, settings)
            yield from _your_topics(settings)
    if not settings.embedded_clickhouse:
        yield _guarded(_your_warehouse, settings)
    if not settings.embedded_postgres:
        for database in postgres.DATABASES[:2]:  # the third is the demo's old warehouse
            yield _your_postgres(settings, database)


def _your_broker(settings: Settings) -> Finding:
    from lockgate.clients.kafka import KafkaAdmin

    brokers = KafkaAdmin(settings).brokers()
    way = "/".join(filter(None, (settings.kafka_security_protocol, settings.kafka_sasl_mechanism)))
    return Finding("your broker", f"{settings.kafka()['bootstrap.servers']} by {way}: {brokers} brokers")


def _your_group(settings: Settings) -> Finding:
    from lockgate.clients.kafka import GROUP, KafkaAdmin

    KafkaAdmin(settings).check_group()
    return Finding("your group", f"{GROUP} may be seen")


def _your_topics(settings: Settings) -> Iterator[Finding]:
    """Whether each contract's topic may be read; what landing needs and no more."""
    from lockgate.clients.kafka import KafkaAdmin, UnknownTopic

    try:
        contracts = load_contracts(settings.contracts)
    except ContractError:  # has a finding of its own
        return
    admin = KafkaAdmin(settings)
    for contract in contracts.values():
        subject = f"your topic {contract.topic}"
        try:
            missing = sorted({"DESCRIBE", "READ"} - admin.allowed(contract.topic))
        except UnknownTopic:
            yield Finding(subject, "not there yet; `lockgate prepare` makes it")
        except ClientError as error:
            yield Finding(subject, "not usable", str(error))
        else:
            mend = (
                f"grant {' and '.join(missing)} on topic {contract.topic!r}: see docs/kafka-security.md"
                if missing
                else ""
            )
            yield Finding(subject, "may not be read" if missing else "may be read", mend)


def _your_warehouse(settings: Settings) -> Finding:
    from lockgate.clients.warehouse import Warehouse

    with Warehouse(settings.clickhouse()) as warehouse:
        version = warehouse.value("SELECT version()")
    return Finding("your warehouse", f"ClickHouse {version} at {settings.clickhouse().base_url}")


def _your_postgres(settings: Settings, database: str) -> Finding:
    from lockgate.embedded.health import query_postgres

    try:
        rows = query_postgres(settings.postgres(database), "SELECT current_setting('server_version') AS version")
    except (HealthError, SettingsError) as error:
        mend = f"{error}; POSTGRES_URL must name a server that has the databases {', '.join(names_needed())}"
        return Finding(f"your postgres, database {database}", "not reachable", mend)
    return Finding(f"your postgres, database {database}", f"PostgreSQL {rows[0]['version']}")


def names_needed() -> tuple[str, str]:
    return names.LEDGER_DATABASE, names.DAGSTER_DATABASE


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"
