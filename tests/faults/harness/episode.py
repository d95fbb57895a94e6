"""One stream, landed through what is drawn, then to its end, and checked."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import PostgresUnavailable
from lockgate.contracts import load_contracts
from lockgate.embedded.environment import settings_environment
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.replays import Replays
from lockgate.names import staging_raw
from tests.faults.harness.arrivals import CONTRACT, PARTITIONS, Arrivals
from tests.faults.harness.draws import LANES, Trouble, Turn, troubles, turns
from tests.faults.harness.lanes import Lane, Tally, unforeseen
from tests.faults.harness.stand import Stand
from tests.faults.harness.truth import Watch, check
from tests.faults.harness.workers import Job, Worker

_BACKLOG = 1_200  # messages; more do not arrive while readers do not see that many
_COMMAND_SECONDS = 150.0
_LANDED_SECONDS = 180.0


class EpisodeFailed(AssertionError):
    """Something does not hold; the message says what, and where to look."""


@dataclass
class Outcome:
    """What became of an episode. `looks`: of readers, meanwhile."""

    tally: Tally
    troubles: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    looks: int = 0


class Episode:
    """`tell` hears of each trouble, and how far it is."""

    def __init__(
        self,
        stand: Stand,
        forks: ForkServerContext,
        stream: str,
        seed: str,
        sabotage: str | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._stand, self._forks, self._stream, self._seed = stand, forks, stream, seed
        self._sabotage, self._tell = sabotage, tell
        self._environment = settings_environment(stand.linked)
        self._logs = stand.direct.home_dir / "workers" / stream
        self._logs.mkdir(parents=True)
        self._workers = 0
        self._replays = random.Random(f"{seed}/replays")
        self._outcome = Outcome(Tally())

    def run(self, kills: int) -> Outcome:
        """Until so many workers were killed, then to the end. Raises EpisodeFailed."""
        contract_file = self._stand.direct.contracts / f"{self._stream}.yml"
        contract_file.write_text(CONTRACT.format(stream=self._stream))
        contract = load_contracts(self._stand.direct.contracts)[self._stream]
        KafkaAdmin(self._stand.direct).ensure_topic(contract)
        ensure_tables(self._stand.warehouse, [contract])
        try:
            with Watch(self._stand.direct, self._stream) as watch:
                arrivals = Arrivals(
                    *(self._stand.direct, self._stream, f"{self._seed}/arrivals"),
                    lambda sent: sent - watch.seen > _BACKLOG,
                )
                with arrivals:
                    self._strike(kills, arrivals, watch)
                self._to_the_end()
            self._demand([*watch.wrong, *arrivals.failed])
            self._demand(check(self._stand.direct, self._stand.warehouse, self._stand.postgres, arrivals))
        finally:
            contract_file.unlink()
        self._outcome.messages, self._outcome.looks = arrivals.total, watch.looks
        return self._outcome

    # --- while workers are struck -------------------------------------------------------------------------------

    def _strike(self, kills: int, arrivals: Arrivals, watch: Watch) -> None:
        tally = self._outcome.tally
        lanes = [
            Lane(turns(f"{self._seed}/lane {number}", commands), self._begin, tally)
            for number, commands in enumerate(LANES)
        ]
        course = _Course(self._stand, self._seed, staging_raw(self._stream), arrivals, self._began)
        try:
            while tally.kills < kills:
                for lane in lanes:
                    lane.step()
                course.step(tally.kills)
                self._demand([*tally.wrong, *watch.wrong, *arrivals.failed])
                time.sleep(0.02)
            course.end()
            for lane in lanes:
                lane.end()
        finally:
            course.let_go()
            for lane in lanes:
                lane.kill()
        self._demand(tally.wrong)

    def _began(self, trouble: Trouble) -> None:
        self._outcome.troubles[str(trouble)] += 1
        self._tell(f"{self._outcome.tally.kills} kills; {trouble}")

    def _begin(self, turn: Turn) -> Worker | None:
        arguments = {
            "land": ["land", "now", "--stream", self._stream],
            "tail": ["tail", "--stream", self._stream],
            "sweep": ["land", "sweep", "--older-than", "0s"],
        }.get(turn.command)
        try:
            return self._worker(arguments or self._replay(), turn)
        except PostgresUnavailable:  # which offsets there are to replay is not to be had now
            return None

    def _worker(self, arguments: list[str], turn: Turn) -> Worker:
        self._workers += 1
        log = self._logs / f"{self._workers:05}-{turn.command}.log"
        return Worker(self._forks, Job(arguments, self._environment, log, turn.strike, self._sabotage))

    def _replay(self) -> list[str]:
        """One that was begun is gone on with by the same words; else some offsets that readers see."""
        if unfinished := self._unfinished_replay():
            return unfinished
        chance = self._replays
        partition, length = chance.randrange(PARTITIONS), chance.randrange(100, 800)
        at, source = chance.random(), chance.choice((None, None, "kafka", "staging"))
        with self._stand.postgres.transaction() as connection:
            row = connection.execute(
                "SELECT max(visible_end) AS visible FROM topic_partition JOIN topic USING (topic_no)"
                " WHERE stream = %s AND partition = %s",
                (self._stream, partition),
            ).fetchone()
        first = int(at * ((row["visible"] if row else None) or 1))
        return self._replay_of(partition, first, first + length, source)

    def _unfinished_replay(self) -> list[str] | None:
        known = Replays(self._stand.postgres, "the harness", 1).unfinished(self._stream)
        wanted = next((replay.wanted for replay in known if replay.state == "open"), None)
        if wanted is None:
            return None
        first, end = wanted["offsets"]
        return self._replay_of(wanted["partition"], first, end, wanted.get("source"))

    def _replay_of(self, partition: int, first: int, end: int, source: str | None) -> list[str]:
        asked = ["land", "replay", "--stream", self._stream, "--partition", str(partition)]
        return [*asked, "--offsets", f"{first}:{end}", *(["--source", source] if source else [])]

    # --- the end ------------------------------------------------------------------------------------------------

    def _to_the_end(self) -> None:
        """Everything is landed, finished and swept, and proven by the command that people have for it."""
        deadline = time.monotonic() + _LANDED_SECONDS
        while not (self._ends_well("land", "now", "--stream", self._stream) and self._nothing_is_left()):
            if time.monotonic() > deadline:
                self._demand([f"not landed after {_LANDED_SECONDS:g} s: {self._said}"])
        while replay := self._unfinished_replay():
            self._insist(*replay)
        self._insist("land", "sweep", "--older-than", "0s")
        self._insist("proof", "--stream", self._stream)

    def _insist(self, *arguments: str) -> None:
        self._demand([] if self._ends_well(*arguments) else [f"lockgate {' '.join(arguments)} fails:\n{self._said}"])

    def _ends_well(self, *arguments: str) -> bool:
        worker = self._worker(list(arguments), Turn("end", None))
        if not worker.wait(_COMMAND_SECONDS):
            self._demand([f"{worker} hangs:\n{worker.where_it_hangs()}"])
        self._said = worker.said
        self._demand([f"{worker}: {what}" for what in unforeseen(worker.said)])
        return worker.code == 0

    def _nothing_is_left(self) -> bool:
        with self._stand.postgres.transaction() as connection:
            row = connection.execute(
                "SELECT count(*) AS n FROM batch JOIN topic USING (topic_no) WHERE stream = %s AND state = 'intent'",
                (self._stream,),
            ).fetchone()
        if row and row["n"]:
            time.sleep(0.3)  # until the leases of the dead have run out
        return bool(row and not row["n"])

    def _demand(self, wrong: list[str]) -> None:
        if wrong:
            listed = "\n  ".join(dict.fromkeys(wrong[:20]))
            kept = shutil.copytree(self._logs, Path(tempfile.mkdtemp(prefix="lockgate-fault-"), self._stream))
            raise EpisodeFailed(
                f"seed {self._seed}, after {self._outcome.tally.kills} kills:\n  {listed}\nwhat workers said: {kept}"
            )


class _Course:
    """The troubles of an episode, one after the other. `begun` hears of each."""

    def __init__(
        self, stand: Stand, seed: str, table: str, arrivals: Arrivals, begun: Callable[[Trouble], None]
    ) -> None:
        self._stand, self._table, self._arrivals, self._begun = stand, table, arrivals, begun
        self._drawn = troubles(f"{seed}/troubles")
        self._next = next(self._drawn)
        self._at = self._next.after  # kills
        self._now: Trouble | None = None
        self._until = 0.0
        self._ended = False

    def step(self, kills: int) -> None:
        if self._now is None:
            if kills >= self._at:
                self._begin()
        elif not self._ended:
            if time.monotonic() >= self._until:
                self._stand.end(self._now, self._table)
                self._ended = True
        elif self._stand.is_over(self._now):
            self._over(kills)

    def end(self) -> None:
        """Return when nothing is wrong any more."""
        while self._now is not None:
            self.step(0)
            time.sleep(0.02)

    def let_go(self) -> None:
        """What arrives goes on, or ends, wherever the course was when something did not hold."""
        if self._arrivals.broker.locked() and str(self._now) == "restart broker":
            self._arrivals.broker.release()

    def _begin(self) -> None:
        self._now, self._ended = self._next, False
        if str(self._now) == "restart broker":
            self._arrivals.broker.acquire()
        self._begun(self._now)
        self._stand.begin(self._now, self._table)
        self._until = time.monotonic() + self._now.seconds

    def _over(self, kills: int) -> None:
        if str(self._now) == "restart broker":
            self._arrivals.broker.release()
        self._now, self._next = None, next(self._drawn)
        self._at = kills + self._next.after
