"""A stack of a benchmark's own: PostgreSQL, a broker and a warehouse in a temporary folder, and what their processes use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lockgate.embedded.ports import free_port_settings
from lockgate.embedded.services import services
from lockgate.embedded.state import read_state
from lockgate.embedded.supervisor import Supervisor
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings


@contextmanager
def own_stack(contracts: Mapping[str, str] | None = None) -> Iterator[Settings]:
    """Up, with a migrated ledger, for the block. `contracts`: stream → YAML of its own; else the repository's."""
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        settings = Settings(home=Path(folder), **free_port_settings())
        if contracts:
            settings = settings.model_copy(update={"contracts": Path(folder, "contracts")})
            settings.contracts.mkdir()
            for stream, text in contracts.items():
                (settings.contracts / f"{stream}.yml").write_text(text)
        supervisor = Supervisor(
            settings.home_dir, services(settings, with_dagster=False, with_worker=False), report=lambda _: None
        )
        supervisor.start()
        try:
            migrate(settings.postgres(LEDGER_DATABASE))
            yield settings
        finally:
            supervisor.stop()


def servers(settings: Settings) -> dict[str, int]:
    """Name → process id of what the stack runs."""
    state = read_state(settings.home_dir)
    assert state is not None
    return {service.name: service.pid for service in state.services if service.pid}
