"""The servers that workers are struck beside, each reached by them through a link, and a clock of the ledger that can be set."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.files import write_atomically
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.ports import free_ports
from lockgate.embedded.service import Report, Service
from lockgate.embedded.services import services
from lockgate.embedded.state import HEALTHY, ServiceState, read_state
from lockgate.embedded.supervisor import Supervisor
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.faults.harness.draws import SERVERS, Trouble
from tests.faults.harness.links import FROM, TO, Link, Links

_PATIENCE_SECONDS = 180.0
_LEASE_SECONDS = 1.0
# Small, so that a round has many of each step.
_SMALL = {
    "batch_rows": 50,
    "batch_bytes": 3_000,
    "lease_seconds": _LEASE_SECONDS,
    "tail_patience_seconds": 0.3,
    "patience_seconds": 5.0,
}
# Every statement that says `now()` finds this one first, and nothing in the code under test knows of it.
_CLOCK = f"""
CREATE SCHEMA faults;
CREATE TABLE faults.clock (step interval NOT NULL);
INSERT INTO faults.clock VALUES ('0');
CREATE FUNCTION faults.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS 'SELECT pg_catalog.now() + step FROM faults.clock';
ALTER DATABASE {LEDGER_DATABASE} SET search_path = faults, public, pg_catalog
"""


@dataclass(frozen=True)
class Stand:
    """`direct`: for who looks on; `linked`: for workers."""

    direct: Settings
    linked: Settings
    links: dict[str, Link]
    supervisor: Supervisor
    warehouse: Warehouse
    postgres: Postgres

    # --- what can be wrong --------------------------------------------------------------------------------------

    def begin(self, trouble: Trouble, table: str) -> None:
        """`table`: that the workers fill."""
        link = self.links.get(trouble.where)
        match trouble.kind:
            case "cut to" | "cut from" | "cut both":
                assert link is not None
                for way in {"cut to": (TO,), "cut from": (FROM,)}.get(trouble.kind, (TO, FROM)):
                    link.cut(way)
            case "slow":
                assert link is not None
                link.slow(trouble.seconds / 10)
            case "reset":
                assert link is not None
                link.reset()
            case "restart":
                self._kill(trouble.where)
            case "clock":  # forward: all leases have run out; back: they run longer
                self._step(3600.0 if trouble.where == "forward" else -2 * _LEASE_SECONDS)
            case "too many parts":
                self.warehouse.command(f"SYSTEM STOP MERGES {table}")
                self.warehouse.command(
                    f"ALTER TABLE {table} MODIFY SETTING parts_to_delay_insert = 10000, parts_to_throw_insert = 3"
                )

    def end(self, trouble: Trouble, table: str) -> None:
        if link := self.links.get(trouble.where):
            if trouble.loses:
                link.reset()
            link.mend()
        if trouble.kind == "too many parts":
            self.warehouse.command(f"ALTER TABLE {table} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
            self.warehouse.command(f"SYSTEM START MERGES {table}")

    def is_over(self, trouble: Trouble) -> bool:
        """Whether all is as good as ever, once it was ended."""
        return trouble.kind != "restart" or self._service(trouble.where).state == HEALTHY

    def _kill(self, name: str) -> None:
        pid = self._service(name).pid
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        self.supervisor.restart(name)  # at once, without the pause that one which dies again and again is given
        _until(lambda: self._service(name).pid != pid, f"the supervisor sees that {name} was killed")

    def _service(self, name: str) -> ServiceState:
        state = read_state(self.direct.home_dir)
        assert state is not None
        return next(service for service in state.services if service.name == name)

    def _step(self, seconds: float) -> None:
        with self.postgres.transaction() as connection:
            connection.execute("UPDATE faults.clock SET step = step + make_interval(secs => %s)", (seconds,))


@contextmanager
def stand() -> Iterator[Stand]:
    """A PostgreSQL, a broker and a warehouse of their own, up for the block."""
    kafka, controller, clickhouse, postgres, dagster, listener, *linked = free_ports(9)
    direct = Settings(
        home=Path(tempfile.mkdtemp(prefix="lockgate-faults-")),
        kafka_port=kafka,
        kafka_controller_port=controller,
        clickhouse_port=clickhouse,
        postgres_port=postgres,
        dagster_port=dagster,
    )
    direct = direct.model_copy(update={**_SMALL, "contracts": direct.home_dir / "contracts"})
    direct.contracts.mkdir()
    ways = dict(zip(SERVERS, zip(linked, (listener, clickhouse, postgres), strict=True), strict=True))
    chosen = services(direct, with_dagster=False, with_worker=False)
    chosen = [_with_listener(s, direct, listener, ways["broker"][0]) if s.name == "broker" else s for s in chosen]
    supervisor = Supervisor(direct.home_dir, chosen, report=lambda _: None)
    links = Links()
    supervisor.start()
    try:
        migrate(direct.postgres(LEDGER_DATABASE))
        with Postgres(direct.postgres(LEDGER_DATABASE)) as first, first.transaction() as connection:
            connection.execute(_CLOCK)
        with Postgres(direct.postgres(LEDGER_DATABASE)) as ledger, Warehouse(direct.clickhouse()) as warehouse:
            led = {name: links.lead(*way) for name, way in ways.items()}
            yield Stand(direct, _linked(direct, led), led, supervisor, warehouse, ledger)
    finally:
        supervisor.stop()
        links.close()
    assert find_leftovers(direct.home_dir) == [], "the stack left processes behind"
    shutil.rmtree(direct.home_dir)


def _linked(direct: Settings, links: dict[str, Link]) -> Settings:
    warehouse, ledger = direct.clickhouse(), urlsplit(direct.postgres(LEDGER_DATABASE))
    clickhouse = f"http://{warehouse.user}:{warehouse.password}@127.0.0.1:{links['warehouse'].port}"
    return direct.model_copy(
        update={
            "kafka_bootstrap_servers": f"127.0.0.1:{links['broker'].port}",
            "clickhouse_url": SecretStr(clickhouse),
            "postgres_url": SecretStr(
                f"postgresql://{ledger.username}:{ledger.password}@127.0.0.1:{links['postgres'].port}"
            ),
        }
    )


def _with_listener(made: Service, settings: Settings, port: int, advertised: int) -> Service:
    """The broker with one more listener, which sends who asks there to the link: clients go where a broker tells them to."""

    def prepare(report: Report) -> None:
        made.prepare(report)
        properties = settings.home_dir / "kafka" / "server.properties"
        own, controller = settings.kafka_port, settings.kafka_controller_port
        # A later line takes the place of an earlier one.
        lines = (
            f"listeners=PLAINTEXT://127.0.0.1:{own},LINKED://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{own},LINKED://127.0.0.1:{advertised}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LINKED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        )
        write_atomically(properties, properties.read_text() + "\n".join(["", *lines, ""]))

    return replace(made, prepare=prepare)


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"after {_PATIENCE_SECONDS:g} s still not: {what}"
        time.sleep(0.05)
