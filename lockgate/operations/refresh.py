"""Bring marts up to date on a lane: plan, candidate, build, gate, publish. Each mart stands or falls alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

from lockgate.clients.errors import ClientError, TransientError
from lockgate.clients.warehouse import Warehouse
from lockgate.core import mends
from lockgate.core.mends import Mend
from lockgate.core.offsets import TopicPartition
from lockgate.core.upstream import upstream_first, waits_for
from lockgate.core.windows import Mart, Plan, Window, plan, widened
from lockgate.ledger.builds import Build, Outdated, StaleBuildError
from lockgate.ledger.leases import LeaseLostError
from lockgate.names import candidate
from lockgate.operations.gates import failed_outcome, failed_rules, gate_landed, whose
from lockgate.operations.platform import Platform
from lockgate.publishing.candidates import fingerprint, prepare

logger = logging.getLogger(__name__)

# Hours that one build takes in at most: a year's backlog comes in twelve pieces, the newest first.
MOST_HOURS = 24 * 31

# (lane, mart → windows) → mart → {"status", "message", "seconds"}; dbt's is the worker, Spark's a process.
Builder = Callable[[str, dict[str, list[list[str]]]], Mapping[str, Mapping[str, Any]]]

# The windows of a mart that a change within some of its windows reaches, as its published rows say (spark_jobs.reach).
Reach = Callable[[Warehouse, Sequence[tuple[datetime, datetime]]], Sequence[tuple[datetime, datetime]]]


@dataclass
class MartReport:
    """What became of one mart. `outcome` is its gate's; `error` is why it was not published.

    `waits_for`: what has to be mended first, where nothing is wrong with the mart itself. `deferred`: somebody else is at it,
    or was quicker; nothing is wrong at all, whoever comes next does it. `event_hours`: what a publication took in. `mend`: goes
    with `error`. `outdated`: published hours whose rows an earlier model made; that stops nothing.
    """

    mart: str
    hours: int = 0
    windows: list[list[str]] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    rows: int = 0
    build_id: int | None = None
    built: bool = False
    outcome: dict[str, Any] | None = None
    published_at: datetime | None = None
    arrived_through: datetime | None = None
    resumed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    waits_for: str | None = None
    deferred: bool = False
    mend: Mend | None = None
    outdated: Outdated | None = None
    event_hours: list[datetime] = field(default_factory=list)

    @property
    def up_to_date(self) -> bool:
        """Nothing was stale, or what was is published."""
        return self.error is None and (self.build_id is None or self.published_at is not None)


@dataclass
class _Work:
    mart: Mart
    report: MartReport
    asked: tuple[datetime, datetime] | None  # the event hours that somebody wants anew, stale or not
    reach: Reach | None = None
    plan: Plan | None = None
    build: Build | None = None
    known: int = 0
    seen: Mapping[TopicPartition, int] = field(default_factory=dict)  # up to where the candidate may have rows

    def again(self, runbook: str) -> Mend:
        """The same work once more: no tick takes up hours that are not stale, so who asked for them has to ask again."""
        if self.asked is None:
            return mends.again(self.mart.clock, runbook)
        return Mend(mends.rebuild(self.mart.name, *self.asked), runbook)

    def unbuilt(self) -> Mend:
        """Its model, or its Spark job, failed."""
        return self.again(mends.RUNBOOK_SPARK) if self.mart.engine == "spark" else mends.of_model(self.mart.name)


def refresh(
    platform: Platform,
    lane: str,
    marts: Iterable[Mart],
    builder: Builder,
    *,
    between: tuple[datetime, datetime] | None = None,
    rebuild: bool = False,
    most_hours: int = MOST_HOURS,
    reaches: Mapping[str, Reach] | None = None,
) -> list[MartReport]:
    """Build, gate and publish what is stale of `marts`; a report each, in their order.

    What goes wrong with one mart is in its report; the last good publication stays. `between`: only event hours of that
    half-open range; with `rebuild` all of these, stale or not. `reaches`: mart → how far a change of its windows goes,
    where that is more than `dirty` can say. Raises TransientErrors of the ledger or the warehouse: what was not published
    stays stale.
    """
    asked = between if rebuild else None
    works = [_Work(mart, MartReport(mart.name), asked, (reaches or {}).get(mart.name)) for mart in marts]
    with ExitStack() as held:
        for work in works:
            with _step(work, "plan"):
                _begin(platform, lane, work, held, between, rebuild, most_hours)
        _build(platform, lane, works, builder)
        begun = {work.mart.name: work for work in works if work.build is not None}
        _gate_what_was_seen(platform, list(begun.values()))
        for name in upstream_first(work.mart for work in begun.values()):
            _judge(platform, begun[name], begun)
    outdated = platform.builds.outdated(work.mart for work in works)
    for work in works:
        work.report.outdated = outdated.get(work.mart.name)
    return [work.report for work in works]


def _judge(platform: Platform, work: _Work, begun: Mapping[str, _Work]) -> None:
    """Gate and publish one mart, once those of the same build that it reads are published."""
    published = {name for name, other in begun.items() if other.report.published_at is not None}
    if held_by := waits_for(work.mart, begun, published):
        _hold_back(platform, work, [begun[name].report for name in held_by])
        return
    if work.report.built:
        with _step(work, "gate"):
            _gate(platform, work)
    if work.report.outcome and work.report.outcome["success"]:
        with _step(work, "publish"):
            _publish(platform, work)


def _hold_back(platform: Platform, work: _Work, held_by: Sequence[MartReport]) -> None:
    """Its candidate was made from theirs, which are not published; it stays stale, and the next refresh makes it anew."""
    assert work.build is not None  # only marts that were begun are judged
    work.report.waits_for = ", ".join(report.mart for report in held_by)
    work.report.error = (
        f"{work.mart.name}: waits for {work.report.waits_for}, which it reads and which was not published"
    )
    work.report.deferred = all(report.deferred for report in held_by)
    work.report.mend = next((report.mend for report in held_by if report.mend), None)
    platform.publisher.abandon(work.build, work.report.error)


@contextmanager
def _step(work: _Work, name: str) -> Iterator[None]:
    """Times a step of one mart. Another process at the same work, or a statement that is refused, ends this mart's, not the
    others'; what is left of its build is taken up or abandoned by the next refresh."""
    started = time.monotonic()
    try:
        yield
    except LeaseLostError as error:
        work.report.error, work.report.deferred = str(error), True
    except StaleBuildError as error:
        work.report.error, work.report.deferred = f"{error}; the next tick derives it anew", True
    except TransientError:
        raise  # a server is away, so for the others too
    except ClientError as error:
        work.report.error = f"{work.mart.name}: {name} failed: {error}"
        work.report.mend = work.again(mends.RUNBOOK_MART)
    finally:
        work.report.seconds[name] = round(time.monotonic() - started, 3)


def _hold(held: ExitStack, lease: AbstractContextManager[None], work: _Work) -> None:
    """Hold a mart's lease for as long as the stack. That it was lost meanwhile ends this mart's work, not the others'.

    What was published stays: the ledger let it through, and lets nothing through that the new holder has ended.
    """
    lease.__enter__()

    def leave(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return lease.__exit__(kind, error, trace)
        except LeaseLostError as lost:
            logger.warning("%s: %s", work.mart.name, lost)
            if work.report.published_at is None and work.report.error is None:
                work.report.error, work.report.deferred = f"{work.mart.name}: {lost}", True
            return None

    held.push(leave)


def _begin(
    platform: Platform,
    lane: str,
    work: _Work,
    held: ExitStack,
    between: tuple[datetime, datetime] | None,
    rebuild: bool,
    most_hours: int,
) -> None:
    mart = work.mart
    _hold(held, platform.leases.held(f"build:{lane}:{mart.name}"), work)
    for left in platform.builds.open_builds(mart.name, lane):
        work.report.resumed += platform.publisher.resume(left, mart.personal) is not None
    if mart.fault:
        work.report.error = f"{mart.name} cannot be built: {mart.fault}"
        work.report.mend = work.unbuilt()
        return
    clock = platform.builds.stream_clock(mart.stream)
    if clock is None:
        return
    if rebuild and between:
        stale = platform.builds.known_hours(mart.stream, between)
    else:
        stale = platform.builds.stale_hours(mart.name, mart.stream, between)
    work.plan = plan(mart, stale, clock.latest_hour, most_hours)
    if work.plan is None:
        return
    if mart.shape_differs:
        work.report.error = (
            f"{mart.name}: its contract has other columns than marts.{mart.name}; see docs/runbooks/mart-shape.md"
        )
        work.report.mend = work.again(mends.RUNBOOK_SHAPE)
        return
    if _held_back(platform, mart.stream):
        work.report.waits_for = f"the gate of stream {mart.stream}"
        work.report.deferred = platform.builds.unjudged(mart.stream)
        why = "it has not looked at what just landed" if work.report.deferred else "what landed has not passed it"
        work.report.error = f"{mart.name}: waits for {work.report.waits_for}: {why}"
        last = platform.builds.last_landed_outcome(mart.stream)
        work.report.mend = (
            mends.of_landed_gate(mart.stream, last) if last else mends.again("minute", mends.RUNBOOK_LANDED)
        )
        return
    work.known = clock.last_batch
    narrow, work.plan = work.plan, _reached(platform, work, work.plan)
    build = platform.builds.begin(work.plan, lane, clock.arrived_through)
    if work.plan != _reached(platform, work, narrow):
        # Published between the look at it and the note of what the build stands on, so the build would not prove stale.
        platform.publisher.abandon(build, "its windows were published while it was planned")
        raise StaleBuildError(f"{mart.name}: its windows were published while it was planned")
    report = work.report
    report.build_id, report.hours = build.build_id, len(work.plan.hours)
    report.windows, report.partitions = [w.text() for w in work.plan.windows], list(work.plan.partitions)
    report.event_hours = [hour for hour, _ in work.plan.hours]
    report.arrived_through = clock.arrived_through
    prepare(platform.warehouse, work.plan, lane)
    work.build = build


def _held_back(platform: Platform, stream: str) -> bool:
    """Whether something that landed has not passed the gate. What a tail has sealed since the tick's own gate is judged now."""
    if not platform.builds.ungated(stream):
        return False
    if not platform.handover.tail_lives(stream):
        return True
    gate_landed(platform, stream)
    return bool(platform.builds.ungated(stream))


def _gate_what_was_seen(platform: Platform, works: Sequence[_Work]) -> None:
    """Note what the candidates that were just built may have rows of, and gate what a tail landed of it meanwhile.

    What becomes visible from here on is in none of them, so it is nobody's concern before the next build.
    """
    for stream in sorted({work.mart.stream for work in works}):
        seen = {state.topic_partition: state.visible_end for state in platform.batches.partitions(stream)}
        for work in works:
            if work.mart.stream == stream:
                work.seen = seen
        if platform.handover.seal(stream, seen) or platform.handover.tail_lives(stream):
            gate_landed(platform, stream)


def _reached(platform: Platform, work: _Work, narrow: Plan) -> Plan:
    """The plan with the windows that its changes reach beyond its own."""
    if work.reach is None:
        return narrow
    found = work.reach(platform.warehouse, [(w.start, w.end) for w in narrow.windows])
    return widened(narrow, (Window(start, end) for start, end in found))


def _build(platform: Platform, lane: str, works: list[_Work], builder: Builder) -> None:
    wanted = {w.mart.name: w for w in works if w.build is not None}
    if not wanted:
        return
    started = time.monotonic()
    try:
        results = builder(lane, {name: work.report.windows for name, work in wanted.items()})
    except ClientError as error:
        results = {name: {"status": "error", "message": str(error)} for name in wanted}
    seconds = round(time.monotonic() - started, 3)
    for name, work in wanted.items():
        result = results.get(name) or {"status": "error", "message": "the builder said nothing of it"}
        work.report.seconds["build"] = float(result.get("seconds") or seconds)
        if result["status"] == "success":
            work.report.built = True
        else:
            _fail(platform, work, f"{name} was not built: {result.get('message')}")
            work.report.mend = work.unbuilt()


def _gate(platform: Platform, work: _Work) -> None:
    """The suite over the candidate; its fingerprint is taken before and after, so that what passed is what was looked at."""
    build, report = work.build, work.report
    assert build is not None  # only built marts come here
    table = candidate(build.lane, build.mart)
    before = fingerprint(platform.warehouse, table, build.partitions)
    try:
        outcome = platform.worker.gate(build.mart, table, {"windows": report.windows, "known": work.known})
    except ClientError as error:
        outcome = failed_outcome(build.mart, table, str(error))
    if outcome["success"] and fingerprint(platform.warehouse, table, build.partitions) != before:
        outcome = failed_outcome(build.mart, table, "the candidate changed while it was being gated")
    if outcome["success"] and set(before) - set(build.partitions):
        beyond = ", ".join(sorted(set(before) - set(build.partitions)))
        outcome = failed_outcome(
            build.mart, table, f"the candidate has rows beyond its windows, in partitions {beyond}"
        )
    if not outcome["success"] and platform.builds.replayed_since(work.mart.stream, build):
        # Judged against other rows than those it was built from: no fault of the mart's.
        platform.publisher.abandon(build, "its stream was replayed meanwhile")
        raise StaleBuildError(f"{build.mart}: {work.mart.stream} was replayed meanwhile")
    outcome = whose(outcome, work.mart.owner)
    platform.builds.gated(build, outcome, before)
    report.outcome = outcome
    report.rows = sum(rows for rows, _ in before.values())
    work.build = Build(**{**vars(build), "fingerprint": before, "state": "passed" if outcome["success"] else "failed"})
    if not outcome["success"]:
        report.error = f"{build.mart}: gate failed: {failed_rules(outcome)}"
        report.mend = work.again(mends.RUNBOOK_MART)


def _publish(platform: Platform, work: _Work) -> None:
    build = work.build
    assert build is not None  # only gated builds come here
    try:
        if platform.builds.ungated(work.mart.stream, work.seen):
            # Visible since the plan was made, so perhaps in the candidate: no gate over what landed has looked at it.
            raise StaleBuildError(f"{build.mart}: more of {work.mart.stream} landed and has not passed its gate yet")
        work.report.published_at = platform.publisher.publish(build, work.mart.personal)
    except StaleBuildError as error:
        platform.publisher.abandon(build, str(error))
        raise


def _fail(platform: Platform, work: _Work, reason: str) -> None:
    assert work.build is not None  # it was begun
    platform.builds.end(work.build, "failed", reason)
    work.report.error = reason
