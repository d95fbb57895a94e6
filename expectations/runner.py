"""Run one suite over one table and say what came out; anything that goes wrong on the way is a failed gate.

Belongs here: the deadline, the engine kept warm between calls, fetching failing rows. Does not:
finding a suite (`loading`), what counts as failed (`outcome`), Great Expectations itself (`engine`).
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Container, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any

from expectations import outcome
from expectations.loading import SuiteError, load_suite, rendered
from expectations.parameters import ParameterError, quoted_table
from expectations.rules import Rule
from lockgate.clients.errors import ClientError
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import readable_contracts
from lockgate.contracts.baseline import readable_accepted
from lockgate.settings import Settings

if TYPE_CHECKING:
    from expectations.engine import Engine

DEFAULT_TIMEOUT_SECONDS = 60.0

logger = logging.getLogger(__name__)


class GateTimeout(SuiteError):
    """A suite did not answer within its time."""


def run(
    suite: str,
    table: str,
    parameters: Mapping[str, Any],
    settings: Settings,
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    personal: Collection[str] = (),
) -> dict[str, Any]:
    """The gate outcome of docs/architecture.md. Never raises for a fault of the suite, the warehouse or the parameters.

    `personal`: columns that are masked in failing rows, beside those that contracts tag.
    """
    started = time.monotonic()

    def work() -> dict[str, Any]:
        return _run(suite, table, parameters, settings, started, timeout_seconds, personal)

    try:
        importlib.import_module("expectations.engine")  # 13 CPU s, once a process: not on the suite's time
        return _within(work, timeout_seconds, suite)
    except (SuiteError, ParameterError, ClientError) as error:
        reason = str(error)
    except Exception as error:  # fail closed: a fault nobody thought of must not publish anything
        logger.exception("gate %s over %s raised", suite, table)
        reason = f"{type(error).__name__}: {error}"
    _forget_engines()
    return outcome.failed(suite, table, reason, time.monotonic() - started)


def _run(
    name: str,
    table: str,
    parameters: Mapping[str, Any],
    settings: Settings,
    started: float,
    timeout_seconds: float,
    personal: Collection[str],
) -> dict[str, Any]:
    suite = rendered(load_suite(name), table, parameters)
    with _engine_of(settings, timeout_seconds) as engine:
        results = engine.validate(name, quoted_table(table), suite.rules)
    rows, faults = _failing_rows(outcome.failed_rules(suite, results), settings, timeout_seconds, personal)
    if not outcome.all_answered(suite, results):
        _forget_engines()
    return outcome.build(name, table, suite, results, rows, faults, time.monotonic() - started)


def _failing_rows(
    rules: list[Rule], settings: Settings, timeout_seconds: float, personal: Collection[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """The first rows behind each failed rule, by rule; and for which rules they could not be had, and why."""
    rows: dict[str, list[dict[str, Any]]] = {}
    faults: dict[str, str] = {}
    if not rules:
        return rows, faults
    masked = _personal_columns(settings, personal)
    with Warehouse(settings.clickhouse("gate"), timeout=timeout_seconds) as warehouse:
        for rule in rules:
            try:
                found = warehouse.dicts(f"SELECT * FROM ({rule.failing}) LIMIT {outcome.FAILING_ROWS}")
            except ClientError as error:
                faults[rule.name] = str(error)[:500]
            else:
                rows[rule.name] = outcome.presentable(found, masked)
    return rows, faults


class _Every:
    """Holds every name."""

    def __contains__(self, _name: object) -> bool:
        return True


def _personal_columns(settings: Settings, of_marts: Collection[str]) -> Container[str]:
    """Those `of_marts`, and whatever any contract tags, as it is and as it was accepted.

    While a contract cannot be read in either way, nobody can tell which of its stream's columns are personal: then all are.
    """
    contracts, broken = readable_contracts(settings.contracts)
    accepted, unreadable = readable_accepted(settings.contracts)
    if unreadable or broken.keys() - accepted.keys():
        return _Every()
    tagged = (
        n
        for known in (contracts, accepted)
        for c in known.values()
        for n, a in c.attributes.items()
        if a.personal != "no"
    )
    return frozenset({*of_marts, *tagged, "_raw", "_extra", "_headers", "_key", "raw"})


# --- the warm engine: one a process and warehouse, used by one thread at a time ---------------------------------------

_lock = threading.Lock()
_engines: dict[tuple[str, str, float], Engine] = {}


class _engine_of:  # noqa: N801 - reads as a function where it is used
    """The engine for a warehouse, held for the block. Raises GateTimeout if another gate holds it for too long."""

    def __init__(self, settings: Settings, timeout_seconds: float) -> None:
        self._settings, self._timeout = settings, timeout_seconds

    def __enter__(self) -> Engine:
        from expectations.engine import Engine

        endpoint = self._settings.clickhouse("gate")
        key = (endpoint.base_url, endpoint.password, self._timeout)
        if not _lock.acquire(timeout=self._timeout):
            raise GateTimeout(f"another gate has held Great Expectations for more than {self._timeout:g} s")
        try:
            if key not in _engines:
                _engines[key] = Engine(endpoint, self._timeout)
        except BaseException:
            _lock.release()
            raise
        return _engines[key]

    def __exit__(self, *exc: object) -> None:
        _lock.release()


def _forget_engines() -> None:
    """The next call makes a new engine, whatever stood in the connection or the caches of the old one."""
    _engines.clear()


def warm(settings: Settings) -> None:
    """Import Great Expectations and build its context ahead of the first call (13 CPU s, once a process)."""
    with _engine_of(settings, DEFAULT_TIMEOUT_SECONDS):
        pass


def _within(work: Callable[[], dict[str, Any]], seconds: float, suite: str) -> dict[str, Any]:
    """What `work` returns, or GateTimeout. A thread that is late is left to end by its own query's time limit."""
    answer: Future[dict[str, Any]] = Future()

    def go() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - carried to the caller, who names it
            answer.set_exception(error)

    threading.Thread(target=go, name=f"gate-{suite}", daemon=True).start()
    try:
        return answer.result(timeout=seconds)
    except FutureTimeout:
        raise GateTimeout(f"suite {suite!r} did not answer within {seconds:g} s") from None
