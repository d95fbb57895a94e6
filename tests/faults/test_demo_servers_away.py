"""A demo whose servers go away between its steps waits for them, and sends and seals everything once they are back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from demo.ending import Ending
from demo.run import feed
from lockgate.clients.errors import TransientError
from lockgate.embedded.ports import free_ports
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.operations.replay import ReplayProgress, ReplayResult
from lockgate.operations.seal import sealed_through
from lockgate.settings import Settings
from tests.faults.harness.links import Link, Links


@dataclass
class Told:
    """A screen that keeps what it is told, and does something when it is told of a server that is away."""

    when_away: Callable[[], None]
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)
        if text.endswith("; waiting"):
            self.when_away()

    def replaying(self, title: str) -> Callable[[ReplayProgress], None]:
        self.said.append(title)
        return lambda _progress: None

    def replayed(self, result: ReplayResult) -> None: ...

    def waiting(self, for_what: Sequence[str]) -> None: ...

    @property
    def away(self) -> list[str]:
        return [text for text in self.said if text.endswith("; waiting")]


@pytest.fixture
def links() -> Iterator[Links]:
    made = Links()
    yield made
    made.close()


@pytest.mark.parametrize("server", ["kafka_port", "postgres_port"])
def test_they_are_waited_for(stack: Settings, links: Links, server: str) -> None:
    migrate(stack.postgres(LEDGER_DATABASE))
    (port,) = free_ports(1)
    back: list[Link] = []

    def come_back() -> None:
        if not back:
            back.append(links.lead(port, getattr(stack, server)))

    screen = Told(come_back)
    fed = feed(stack.model_copy(update={server: port}), None, None, screen, Ending(None))
    assert screen.away, "it was away, and somebody was told"
    assert [one.problem for one in fed] == [None, None, None]
    assert {one.result.failed + one.result.unconfirmed for one in fed} == {0}
    assert sealed_through(stack, "payments") is not None


def test_a_demo_that_is_to_end_waits_no_longer(stack: Settings) -> None:
    (port,) = free_ports(1)
    ending = Ending(None)
    screen = Told(ending.stop.set)
    with pytest.raises(TransientError, match="no Kafka broker answers"):
        feed(stack.model_copy(update={"kafka_port": port}), None, None, screen, ending)
    assert len(screen.away) == 1
