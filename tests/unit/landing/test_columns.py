"""What a staging table and the views over it need when their contract has changed. The statements run in the engine itself in
tests/integration/landing/test_evolution.py."""

from __future__ import annotations

import pytest

from lockgate.landing.columns import ContractChangedError, Differences, _readers, differences, made_anew

HAVE = {"_offset": "Int64", "event_id": "String", "amount": "Nullable(Int32)", "kept": "Nullable(Int8)"}


def test_what_is_new_and_what_widens_is_altered_in_one_statement() -> None:
    wanted = {"event_id": "String", "amount": "Nullable(Int64)", "colour": "LowCardinality(Nullable(String))"}
    found = differences("s", HAVE, wanted)
    assert found == Differences(
        {"colour": "LowCardinality(Nullable(String))"}, {"amount": ("Nullable(Int32)", "Nullable(Int64)")}
    )
    assert found.as_alter() == (
        "ADD COLUMN IF NOT EXISTS colour LowCardinality(Nullable(String)), MODIFY COLUMN amount Nullable(Int64)"
    )


def test_a_column_that_no_contract_names_any_more_stays() -> None:
    assert differences("s", HAVE, {"event_id": "String"}) == Differences({}, {})


def test_all_that_breaks_is_said_at_once_and_nothing_is_planned() -> None:
    wanted = {"amount": "Nullable(Int8)", "kept": "Nullable(String)", "event_id": "UUID", "new": "Nullable(Int8)"}
    with pytest.raises(ContractChangedError, match=r"contracts/s\.yml") as raised:
        differences("s", HAVE, wanted)
    said = str(raised.value)
    assert "amount is Int8 there, but Int32 in staging, and Int8 does not hold 2147483647, which Int32 does" in said
    assert "kept is String there" in said
    assert "event_id is UUID there, but String in staging" in said
    assert "lockgate contract diff" in said


@pytest.mark.parametrize(
    ("create", "anew"),
    [
        ("CREATE VIEW a.v (`k` Int32) AS SELECT k FROM a.t", "CREATE OR REPLACE VIEW a.v AS SELECT k FROM a.t"),
        (
            r"CREATE VIEW a.v (`a(b` Int32 COMMENT 'x\')(', `d` DateTime64(6, 'UTC')) SQL SECURITY NONE AS SELECT f(x) FROM a.t",
            "CREATE OR REPLACE VIEW a.v SQL SECURITY NONE AS SELECT f(x) FROM a.t",
        ),
        (
            "CREATE VIEW a.v (`k` Tuple(x Int8)) AS SELECT k FROM a.t COMMENT 'of (all)'",
            "CREATE OR REPLACE VIEW a.v AS SELECT k FROM a.t COMMENT 'of (all)'",
        ),
    ],
)
def test_a_view_is_made_anew_without_the_types_that_it_was_made_with(create: str, anew: str) -> None:
    assert made_anew(create) == anew


def test_views_follow_in_the_order_in_which_they_read() -> None:
    views = {
        "intermediate.int_s": ("SELECT * FROM intermediate.stg_s LIMIT 1 BY id", ""),
        "dev.both": ("SELECT 1 FROM `intermediate`.`int_s` AS a INNER JOIN staging.s AS b ON 1", ""),
        "intermediate.stg_s": ("SELECT id FROM staging.s", ""),
        "intermediate.stg_s2": ("SELECT id FROM staging.s2", ""),
        "other.staging": ("SELECT s FROM other.staging_s", ""),
        "odd.a name": ("SELECT staging.s.id FROM staging.s", ""),
        "odd.reads it": ("SELECT 1 FROM `odd`.`a name`", ""),
        "dev.now": ("SELECT id FROM staging.s__now", ""),
    }
    found = _readers(["staging.s", "staging.s__now"], views)
    assert set(found) == {
        "intermediate.stg_s",
        "intermediate.int_s",
        "dev.both",
        "odd.a name",
        "odd.reads it",
        "dev.now",
    }
    assert found.index("intermediate.stg_s") < found.index("intermediate.int_s") < found.index("dev.both")
    assert found.index("odd.a name") < found.index("odd.reads it")
