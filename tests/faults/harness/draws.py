"""What happens in an episode, drawn from its seed: the same seed draws the same, whatever becomes of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.faults.harness.points import HOLD_UP, KILL, PAUSE, POINTS, Strike

T = TypeVar("T")

SERVERS = ("broker", "warehouse", "postgres")
# What can be wrong with a server or the way to it, or (`clock`) with the ledger's clock.
TROUBLES = (
    *((kind, server) for kind in ("cut to", "cut from", "cut both", "slow", "reset", "restart") for server in SERVERS),
    *(("clock", direction) for direction in ("forward", "back")),
    ("too many parts", "warehouse"),
)
# A worker after the other in each, all lanes at once; what commands they take turns with.
LANES = (("land",), ("land",), ("tail",), ("replay", "sweep"))
_AT_ANY_MOMENT = 0.1  # of all strikes; the others are at a point
_UNDISTURBED = 0.1  # of all workers


@dataclass(frozen=True)
class Turn:
    """A worker of a lane."""

    command: str
    strike: Strike | None


@dataclass(frozen=True)
class Trouble:
    """Comes so many kills `after` the one before has passed, and lasts `seconds`. `loses`: what a link held up then is lost."""

    kind: str
    where: str
    after: int
    seconds: float
    loses: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.where}"


class Deck(Generic[T]):
    """Cards in random order, all of them before any comes again."""

    def __init__(self, chance: random.Random, cards: Sequence[T]) -> None:
        self._chance, self._cards, self._left = chance, list(cards), list[T]()

    def draw(self) -> T:
        if not self._left:
            self._left = self._chance.sample(self._cards, len(self._cards))
        return self._left.pop()


def turns(seed: str, commands: Sequence[str]) -> Iterator[Turn]:
    """Without end."""
    chance = random.Random(seed)
    points = Deck(chance, [(command, point) for command in commands for point in POINTS[command]])
    actions = Deck(chance, [KILL] * 12 + [PAUSE] * 2 + [HOLD_UP])
    while True:
        command, point = points.draw()
        what = chance.random()
        if what < _UNDISTURBED:
            yield Turn(command, None)
        elif what < _UNDISTURBED + _AT_ANY_MOMENT:
            yield Turn(command, Strike(command, None, 1, KILL, chance.uniform(0.0, 1.5)))
        else:
            delay = chance.choice((0.0, 0.0, chance.uniform(0.0, 0.05)))
            yield Turn(command, Strike(command, point, chance.choice((1, 1, 1, 2)), actions.draw(), delay))


def troubles(seed: str) -> Iterator[Trouble]:
    """Without end."""
    chance = random.Random(seed)
    deck = Deck(chance, TROUBLES)
    while True:
        kind, where = deck.draw()
        yield Trouble(kind, where, chance.randrange(1, 6), chance.uniform(0.2, 2.5), chance.random() < 0.5)
