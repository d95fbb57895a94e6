"""Which services `lockgate up` starts, by the settings."""

from __future__ import annotations

from pathlib import Path

from lockgate.embedded.services import services
from lockgate.settings import Settings

SERVERS = ["postgres", "broker", "warehouse"]


def names(settings: Settings, *, with_worker: bool) -> list[str]:
    return [service.name for service in services(settings, with_dagster=False, with_worker=with_worker)]


def test_a_tail_runs_where_a_setting_says_so_and_never_beside_the_servers_alone(tmp_path: Path) -> None:
    plain = Settings(home=tmp_path)
    assert names(plain, with_worker=True) == [*SERVERS, "worker"]
    tailing = plain.model_copy(update={"tail": True})
    assert names(tailing, with_worker=True) == [*SERVERS, "worker", "tail"]
    assert names(tailing, with_worker=False) == SERVERS


def test_a_tail_starts_after_the_servers_and_holds_nothing_up(tmp_path: Path) -> None:
    tail = next(s for s in services(Settings(home=tmp_path, tail=True), with_dagster=False) if s.name == "tail")
    assert list(tail.depends_on) == SERVERS
    assert not tail.essential
