"""Inserts with data: the client's bytes through a pipe to the engine, as they arrive.

Belongs here: feeding one INSERT. Does not: who may run it (`guard`), where its data begins (`statements`).

chdb's own `send_insert` keeps to itself what the table's writer raises: a full disk, a CHECK that is violated, too many
parts. `INSERT … FROM INFILE` raises it, so the engine reads the data itself, from a pipe. It parses in as many blocks as a
server does (`max_block_size` is what it goes by for files), and memory does not grow with the body.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from typing import Any

from lockgate.embedded.warehouse import outside
from lockgate.embedded.warehouse.engine import Connection, Engine
from lockgate.embedded.warehouse.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WarehouseError
from lockgate.embedded.warehouse.execution import (
    Client,
    Outcome,
    make_pipe,
    nanoseconds_since,
    run_whole,
    wait_for,
    workers,
    write_all,
)
from lockgate.embedded.warehouse.lease import Lease
from lockgate.embedded.warehouse.lexer import identifier
from lockgate.embedded.warehouse.marks import OWN
from lockgate.embedded.warehouse.parsing import classify
from lockgate.embedded.warehouse.statements import Canonical, find_input, from_file, setting_of

_INPUT = "_lockgate_input"
_BLOCK_ROWS = "max_insert_block_size"
_AGAIN_SECONDS = 0.005  # between two attempts to end an insert that has not begun yet


def insert(
    engine: Engine,
    lease: Lease,
    statement: Canonical,
    pieces: Iterable[bytes],
    parameters: dict[str, str],
    client: Client,
) -> Outcome:
    """Run `statement`, an INSERT up to its data (`guard.permit_insert`), with the data of `pieces`.

    Raises WarehouseError if not all of it is stored. An error of `pieces` ends the insert: nothing of the block that had
    not been stored by then will be. ConnectionAbortedError if the client goes away after its last piece.
    """
    connection = lease.connection
    rows = setting_of(statement.text, _BLOCK_ROWS) or str(lease.number(_BLOCK_ROWS, engine.insert_block_rows))
    reader, writer = make_pipe()
    # to the engine a pipe is an empty file, which it would skip if the client said so
    sql = from_file(statement, f"/dev/fd/{reader}", {"engine_file_skip_empty_files": "0", "max_block_size": rows})

    def run() -> Outcome:
        started = time.monotonic()
        connection.progress.counts = {}
        try:
            return _outcome(connection.run(sql, "TabSeparated", parameters), started)
        finally:
            os.close(reader)  # whoever still writes gets EPIPE, also where the engine never opened it

    running = workers.submit(run)
    try:
        _feed(writer, pieces)
    except BaseException:
        _cancel(engine, connection, running)
        os.close(writer)
        wait([running])
        raise
    os.close(writer)
    return wait_for(running, engine, connection, client)


def _outcome(result: Any, started: float) -> Outcome:
    rows, size = result.rows_written(), result.bytes_written()
    return Outcome(
        read_rows=result.rows_read(),
        read_bytes=result.bytes_read(),
        written_rows=rows,
        written_bytes=size,
        result_rows=rows,
        result_bytes=size,
        elapsed_ns=nanoseconds_since(started),
    )


def _feed(writer: int, pieces: Iterable[bytes]) -> None:
    """Write all `pieces`, or as many as the engine wants: it stops reading at an error."""
    with contextlib.suppress(BrokenPipeError):
        for piece in pieces:
            write_all(writer, piece)


def _cancel(engine: Engine, connection: Connection, running: Future[Outcome]) -> None:
    """End the insert while its pipe is still open: the end of the pipe would be the end of the data, which is then stored."""
    while not running.done() and not engine.end(connection):
        time.sleep(_AGAIN_SECONDS)


def insert_selected(
    engine: Engine, lease: Lease, statement: Canonical, format_name: str, pieces: Iterable[bytes],
    parameters: dict[str, str], client: Client,
) -> Outcome:  # fmt: skip
    """`INSERT … SELECT … FROM input('structure')`, which chdb runs without any data and without an error: so the data
    goes into a temporary table of that structure first, on disk, and is selected from there."""
    connection = lease.connection
    call = find_input(statement)
    if call is None:
        raise WarehouseError(
            NOT_IMPLEMENTED, "input() is supported with one text, its structure: input('a UInt8, b String')"
        )
    made = f"CREATE TEMPORARY TABLE {_INPUT} ({call.structure}) ENGINE = MergeTree ORDER BY tuple()".encode()
    selected = statement.text[: call.start] + _INPUT.encode() + statement.without_format[call.end :]
    if any(classify(connection, text).statements != 1 for text in (made, selected)):
        raise WarehouseError(
            SYNTAX_ERROR, f"Syntax error: the INSERT, or the structure {call.structure!r}, cannot be parsed"
        )
    outside.check(connection, engine.parser.canonical(connection, made, lease.plain))
    connection.run(OWN.encode() + made)
    try:
        into = Canonical.of(f"{OWN}INSERT INTO {_INPUT} FORMAT {identifier(format_name)}".encode())
        insert(engine, lease, into, pieces, {}, client)
        _, outcome = run_whole(engine, connection, selected, "TabSeparated", parameters, client)
    finally:
        connection.run(f"{OWN}DROP TABLE {_INPUT}")
    return outcome
