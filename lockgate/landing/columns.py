"""How staging follows a contract that has changed, while landing goes on: columns that are added, types that widen.

Belongs here: what an existing table and the views over it need. Does not: which change widens (`core.types`), the tables as
they are made first (`tables`), values of history (`filling`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from lockgate.clients.errors import TransientError
from lockgate.clients.warehouse import Warehouse, WarehouseError
from lockgate.core.types import Change, attribute_type, change, why_not
from lockgate.names import STAGING

logger = logging.getLogger(__name__)

# Of a table; also where the name of a column follows.
_PLAIN_NAME = re.compile(r"(?<![\w.])\w+\.\w+")


class ContractChangedError(RuntimeError):
    """A contract asks for a type that does not hold what has landed; the message names the column, both types and why."""


@dataclass(frozen=True)
class Differences:
    """What a table lacks of its contract: column → its type, or its type before and after."""

    added: Mapping[str, str]
    widened: Mapping[str, tuple[str, str]]

    def as_alter(self) -> str:
        added = [f"ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in self.added.items()]
        return ", ".join([*added, *(f"MODIFY COLUMN {name} {kind}" for name, (_, kind) in self.widened.items())])


def differences(stream: str, have: Mapping[str, str], wanted: Mapping[str, str]) -> Differences:
    """Between the columns that a table has and those of its contract. Raises ContractChangedError, for all that break at once."""
    added = {name: kind for name, kind in wanted.items() if name not in have}
    changed = {name: kind for name, kind in wanted.items() if have.get(name, kind) != kind}
    broken = []
    for name, kind in changed.items():
        before, after = attribute_type(have[name]), attribute_type(kind)
        if before is None or after is None:
            broken.append(f"{name} is {kind} there, but {have[name]} in staging")
        elif change(before, after) is Change.BREAKS:
            broken.append(f"{name} is {after} there, but {before} in staging, and {why_not(before, after)}")
    if broken:
        raise ContractChangedError(
            f"contracts/{stream}.yml: {'; '.join(broken)}. Put the type back, or give the attribute a new name and fill it for"
            " history; `lockgate contract diff` says what reads it"
        )
    return Differences(added, {name: (have[name], kind) for name, kind in changed.items()})


def follow(warehouse: Warehouse, table: str, found: Differences) -> None:
    """Alter the table. It can be read and inserted into all the while. Raises ContractChangedError.

    The new types hold at once: rows are converted as they are read until the engine has rewritten the column in the
    background, so that no tick waits for years of history (`alter_sync`: do not wait).
    """
    for name, (before, _) in found.widened.items():
        _check_digits(warehouse, table, name, before)
    if found.added or found.widened:
        logger.info("%s: %s", table, found.as_alter())
        warehouse.command(f"ALTER TABLE {table} {found.as_alter()}", settings={"alter_sync": 0})


def _check_digits(warehouse: Warehouse, table: str, column: str, kind: str) -> None:
    """That no stored decimal has more digits than its type says. The engine has room for some, and landing once let them in: to
    convert them to a larger scale would fail, in the background and for ever."""
    decimal = re.search(r"Decimal\((\d+), (\d+)\)", kind)
    if decimal is None:
        return
    precision, scale = int(decimal[1]), int(decimal[2])
    bound = f"toDecimal256('{10 ** (precision - scale)}', {scale})"
    size = f"abs(toDecimal256(assumeNotNull({column}), {scale}))"
    beyond = warehouse.value(f"SELECT countIf(isNotNull({column}) AND {size} >= {bound}) FROM {table}")
    if beyond:
        raise ContractChangedError(
            f"{table}: {beyond} rows of {column} have more digits than {decimal[0]} may have, so the column cannot be widened in"
            " place; give the attribute a new name, and fill it for history"
        )


def follow_views(warehouse: Warehouse, sources: Collection[str]) -> list[str]:
    """Make anew the views that read one of `sources`, themselves or by way of others, and declare other columns than they
    read now.

    A view keeps the types that it was made with and converts to them in silence: 3000000000 read through a view that was made
    over an Int32 is -1294967296. So this comes before the first wider value can land. Returns the names.
    """
    made: list[str] = []
    views = _views(warehouse)
    for view in _readers(sources, views):
        select, create = views[view]
        try:
            reads = [(str(row[0]), str(row[1])) for row in warehouse.rows(f"DESCRIBE TABLE ({select})")]
        except TransientError:
            raise
        except WarehouseError as error:  # it could not be read before either: nothing of it can be wrong
            logger.warning("view %s cannot be read, and is left as it is: %s", view, error)
            continue
        if reads != _declared(warehouse, view):
            warehouse.command(create)
            made.append(view)
    return made


def _views(warehouse: Warehouse) -> dict[str, tuple[str, str]]:
    """View → (its SELECT, the statement that makes it anew from it).

    Without those of `staging`, which are the platform's own and read tables alone: they are long, and to write hundreds of them
    down took the engine a second.
    """
    rows = warehouse.rows(
        "SELECT database, name, as_select, create_table_query FROM system.tables WHERE engine = 'View'"
        f" AND database NOT IN ('{STAGING}', 'system', 'information_schema', 'INFORMATION_SCHEMA')"
    )
    return {f"{database}.{name}": (select, made_anew(create)) for database, name, select, create in rows}


def _readers(sources: Collection[str], views: Mapping[str, tuple[str, str]]) -> list[str]:
    """The views that read one of `sources`, themselves or by way of others; each after those that it reads."""
    known = {*sources, *views}
    reads = {view: _named(select, known) - {view} for view, (select, _) in views.items()}
    found = set(sources)
    while more := {view for view, of in reads.items() if view not in found and found & of}:
        found |= more
    in_order = TopologicalSorter({view: found & reads[view] for view in found.difference(sources)}).static_order()
    return [view for view in in_order if view not in sources]


def _named(select: str, tables: Collection[str]) -> set[str]:
    """The tables that a SELECT names. One look at its text for all that are plain: hundreds of views, each of which is long, were
    looked through for each other in seconds."""
    text = select.replace("`", "")
    plain = set(_PLAIN_NAME.findall(text))
    odd = (table for table in tables if not _PLAIN_NAME.fullmatch(table))
    return plain.intersection(tables) | {t for t in odd if re.search(rf"(?<![\w.]){re.escape(t)}(?!\w)", text)}


def _declared(warehouse: Warehouse, view: str) -> list[tuple[str, str]]:
    database, _, name = view.partition(".")
    rows = warehouse.rows(
        "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {name:String} ORDER BY position",
        {"database": database, "name": name},
    )
    return [(str(column), str(kind)) for column, kind in rows]


def made_anew(create: str) -> str:
    """`CREATE VIEW v (columns) …` as `CREATE OR REPLACE VIEW v …`: its columns then follow from its SELECT."""
    begin = create.index("(")
    depth, quote, at = 0, "", begin
    while True:
        letter = create[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "'`\"":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
            if not depth:
                break
        at += 1
    head = create[:begin].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
    return f"{head.rstrip()} {create[at + 1 :].lstrip()}"
