"""What events hold gets into the ledger, whatever it is: failing rows are kept with the gate's outcome."""

from __future__ import annotations

from lockgate.clients.postgres import Postgres
from lockgate.names import LEDGER_DATABASE
from tests.integration.publishing.benches import Bench

ROW = {"currency": "\0", "na\0me": ["a\0b", {"deep": "\0"}], "amount": "1.0000", "said": "\\u0000"}


def test_an_outcome_with_a_value_that_postgres_refuses_is_kept(bench: Bench) -> None:
    """U+0000 is no text to PostgreSQL: a rule that only warns would keep its mart from being published, for good."""
    bench.change({0: 1}, gated=False)
    builds = bench.platform.builds
    (batch,) = builds.ungated(bench.mart.stream)
    rule = {"expectation": "r", "severity": "warn", "success": False, "failing_rows": [ROW]}
    outcome = {"suite": "landed", "table": f"staging.{bench.mart.stream}", "success": True, "results": [rule]}
    builds.gate_batches([batch], outcome)
    assert builds.ungated(bench.mart.stream) == []
    kept = builds.last_landed_outcome(bench.mart.stream)
    assert kept is not None
    shown = {"currency": "␀", "na␀me": ["a␀b", {"deep": "␀"}], "amount": "1.0000", "said": "\\u0000"}
    assert kept["results"][0]["failing_rows"] == [shown]


def test_a_tick_with_such_a_problem_is_kept(bench: Bench) -> None:
    number = bench.platform.log.begin_tick("a test")
    bench.platform.log.end_tick(number, {"problems": ["a\0b"]})
    settings = bench.platform.settings
    with Postgres(settings.postgres(LEDGER_DATABASE)) as ledger, ledger.transaction() as connection:
        row = connection.execute("SELECT summary FROM tick WHERE tick_id = %s", (number,)).fetchone()
    assert row is not None
    assert row["summary"] == {"problems": ["a␀b"]}
