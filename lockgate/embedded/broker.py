"""Apache Kafka as one node in KRaft mode: loopback only, a durable log folder, the jars of `broker_jars`."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from lockgate.embedded import health
from lockgate.embedded.broker_jars import ensure_jars, jars_folder
from lockgate.embedded.environment import inherited
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import write_atomically
from lockgate.embedded.java import Java, find_java
from lockgate.embedded.service import Port, Report, Service
from lockgate.settings import Settings

_HEAP = ("-Xms256m", "-Xmx768m")  # 768 MB carried 400 MB/s on 2 cores; more would be taken from the page cache

_PROPERTIES = """\
# Written at each start by lockgate/embedded/broker.py; changes are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
# Topics are made on purpose: a misspelled one is an error, not an empty topic.
auto.create.topics.enable=false
num.partitions=4
# One node can hold one replica.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# Landing goes by arrival, so the broker's clock stamps each message.
log.message.timestamp.type=LogAppendTime
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
# No flush settings: what a killed broker had written is in the page cache, which outlives it.
log.retention.hours=168
group.initial.rebalance.delay.ms=0
"""

_LOGGING = """\
status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %-5p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
logger.serverconfig.name=kafka.server.KafkaConfig
logger.serverconfig.level=warn
"""


def service(settings: Settings) -> Service:
    """The broker as the supervisor runs it. Raises StackError where there is no Java for it."""
    folder = settings.home_dir / "kafka"
    java = find_java(settings)
    return Service(
        name="broker",
        argv=_kafka_command(java, settings, "kafka.Kafka", str(folder / "server.properties")),
        cwd=Path("/"),
        health=health.kafka("127.0.0.1", settings.kafka_port),
        address=f"127.0.0.1:{settings.kafka_port}",
        ports=(
            Port(settings.kafka_port, "LOCKGATE_KAFKA_PORT"),
            Port(settings.kafka_controller_port, "LOCKGATE_KAFKA_CONTROLLER_PORT"),
        ),
        prepare=lambda report: prepare(settings, java, report),
        start_deadline=120,  # after kill -9 the log segments are checked first
        stop_deadline=30,
    )


def prepare(settings: Settings, java: Java, report: Report) -> None:
    """Before each start: the jars, the configuration, the formatted data folder."""
    ensure_jars(settings, report)
    folder = settings.home_dir / "kafka"
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "server.properties", properties(settings))
    write_atomically(folder / "log4j2.properties", _LOGGING)
    if not (data / "meta.properties").exists():
        _format(settings, java, folder / "server.properties")


def properties(settings: Settings) -> str:
    """The broker's configuration file."""
    return _PROPERTIES.format(
        port=settings.kafka_port,
        controller=settings.kafka_controller_port,
        data=_in_properties(settings.home_dir / "kafka" / "data"),
    )


def _in_properties(path: Path) -> str:
    """As Java reads such a file: as Latin-1, with escapes. A UTF-8 `ö` would name another folder, and silently make it."""
    units = str(path).encode("utf-16-be", "surrogatepass")
    numbers = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(f"\\u{number:04x}" if number > 126 or chr(number) == "\\" else chr(number) for number in numbers)


def _kafka_command(java: Java, settings: Settings, main: str, *arguments: str) -> tuple[str, ...]:
    return (
        str(java.binary),
        *_HEAP,
        "-XX:+ExitOnOutOfMemoryError",  # a broker that has lost threads must not look alive
        f"-Dlog4j2.configurationFile={settings.home_dir / 'kafka' / 'log4j2.properties'}",
        *("-cp", f"{jars_folder(settings)}/*", main),
        *arguments,
    )


def _format(settings: Settings, java: Java, configuration: Path) -> None:
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # --cluster-id=X in one word: an id may begin with a hyphen. An interrupted format is finished by the next.
    arguments = ("format", f"--cluster-id={cluster}", "-c", str(configuration), "--ignore-formatted")
    command = _kafka_command(java, settings, "kafka.tools.StorageTool", *arguments)
    done = subprocess.run(command, env=inherited({}), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise StackError(
            f"the broker's data folder could not be formatted: {(done.stderr or done.stdout).strip()[-500:]}"
        )
