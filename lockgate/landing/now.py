"""SQL of what there is now: what has landed and, behind that, what has arrived (`arrivals`)."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.contracts import Contract
from lockgate.landing.extraction import columns, extra
from lockgate.landing.fields import fields
from lockgate.landing.live_rows import visible_rows
from lockgate.landing.plain import plainly
from lockgate.names import arrivals, staging_raw


def arrivals_table(contract: Contract, origin: str) -> str:
    """`origin`: names and types of the columns that say where a message came from."""
    return (
        f"CREATE TABLE IF NOT EXISTS {arrivals(contract.stream)} ({origin}, _landed_at DateTime64(3, 'UTC') DEFAULT now64(3),"
        " _raw Nullable(String)) ENGINE = Memory"
    )


def rows_now(contract: Contract, shown: Mapping[str, str]) -> str:
    """A SELECT of what has landed and, behind that, of what has arrived and is plainly right (`plain`): it will surely land.

    `shown`: column of `staging.<stream>` → type; they are these, too. `_batch` is 0 where there is none yet.
    """
    stored = [name for name in (*shown, "_generation") if name != "_extra"]
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in plainly(contract))
    values = dict(columns(contract)) | {"_raw": "_message"}
    origin = [name for name in stored if name not in values]
    taken = ", ".join([*origin, "raw AS _message", *(field.value for field in fields(contract)), "right AS _right"])
    arrived = ", ".join(f"CAST({values[n]} AS {shown[n]}) AS {n}" if n in values else n for n in stored)
    # A message that was sent twice, by a client that had no answer or a tail that had slept, is there twice. The order makes
    # one block of the many that were inserted: what follows costs as much for each block as for hundreds of rows.
    place = "_topic_id, _partition, _offset"
    once = f"SELECT * FROM {arrivals(contract.stream)} ORDER BY {place} LIMIT 1 BY {place}"
    # A query takes note of the rows of a table when it comes to its name, and between two of them it resolves hundreds of
    # functions: 30 ms, on a busy machine seconds. So they stand in the order in which a message goes on: what is not among the
    # arrivals any more was visible as landed before that, and is among what has.
    both = f"""(
    SELECT {arrived}, map() AS _extra FROM (WITH {steps} SELECT {taken} FROM ({once})) WHERE _right
    UNION ALL
    SELECT {", ".join(stored)}, _extra FROM {staging_raw(contract.stream)}
)"""
    return visible_rows(both, list(shown), {"_extra": beside(contract)})


def beside(contract: Contract) -> str:
    """`_extra` of a row of `staging_raw`, as `r`: what was stored, or what is taken from its bytes."""
    return f"if(notEmpty(r._extra) OR empty(r._raw), r._extra, {extra(contract)})"
