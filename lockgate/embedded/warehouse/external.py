"""External tables: the files of a request's form data, temporary tables for its one query.

Belongs here: making them, filling them, taking them away again. Does not: the form's grammar (`multipart`).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.embedded.warehouse import guard, inserting, multipart
from lockgate.embedded.warehouse.engine import Connection, Engine
from lockgate.embedded.warehouse.errors import BAD_ARGUMENTS, LIMIT_EXCEEDED, WarehouseError
from lockgate.embedded.warehouse.execution import Client
from lockgate.embedded.warehouse.lease import Lease
from lockgate.embedded.warehouse.lexer import identifier, literal, tokens
from lockgate.embedded.warehouse.marks import OWN
from lockgate.embedded.warehouse.protocol import Request
from lockgate.embedded.warehouse.statements import Canonical

MOST_BYTES = 1 << 30  # of one table's data: a server's http_max_multipart_form_data_size


def read(engine: Engine, lease: Lease, request: Request, body: Iterator[bytes], client: Client) -> Request:
    """`request` with the fields of the form `body`; its files are temporary tables then, until `lease` is released.

    Raises WarehouseError.
    """
    assert request.boundary is not None
    lease.unchanged = False
    described = dict(request.fields)
    fields: list[tuple[str, bytes]] = []
    for part in multipart.parts(body, request.boundary):
        if part.is_file:
            _make(lease.connection, part.name, described)
            if request.session_id is not None:  # without a session all of the connection ends with the request
                lease.made_for_it.append(f"DROP TEMPORARY TABLE {identifier(part.name)}")
            _fill(engine, lease, part, described, client)
        else:
            value = part.value()
            fields.append((part.name, value))
            described.setdefault(part.name, value.decode(errors="replace"))
    return request.with_form(fields)


def _make(connection: Connection, name: str, described: dict[str, str]) -> None:
    """`null()` reads the structure from a text, as a server does: names and types, and nothing that could run."""
    structure = described.get(f"{name}_structure") or _numbered(described.get(f"{name}_types", ""))
    if not structure:
        raise WarehouseError(
            BAD_ARGUMENTS,
            f"Neither structure nor types have not been provided for external table {name}. "
            f"Use fields {name}_structure or {name}_types to do so.",
        )
    guard.refuse_name(f"{name} {structure}".encode(errors="replace"))
    connection.run(
        f"{OWN}CREATE TEMPORARY TABLE {identifier(name)} ENGINE = Memory AS SELECT * FROM null({literal(structure)})"
    )


def _numbered(types: str) -> str:
    """A structure out of types alone: the columns are `_1`, `_2` and so on."""
    text = types.encode()
    commas = [token.start for token in tokens(text) if token.text == b"," and token.depth == 0]
    starts, ends = [0, *(comma + 1 for comma in commas)], [*commas, len(text)]
    columns = [text[start:end].decode().strip() for start, end in zip(starts, ends, strict=True)]
    return ", ".join(f"_{number} {column}" for number, column in enumerate(columns, 1)) if types.strip() else ""


def _fill(engine: Engine, lease: Lease, part: multipart.Part, described: dict[str, str], client: Client) -> None:
    input_format = described.get(f"{part.name}_format", "TabSeparated")
    into = f"{OWN}INSERT INTO {identifier(part.name)} FORMAT {identifier(input_format)}"
    inserting.insert(engine, lease, Canonical.of(into.encode()), _bounded(part), {}, client)


def _bounded(part: multipart.Part) -> Iterator[bytes]:
    left = MOST_BYTES
    for piece in part.pieces:
        left -= len(piece)
        if left < 0:
            raise WarehouseError(
                LIMIT_EXCEEDED,
                "Limit for LimitReadBuffer exceeded: the maximum size of multipart/form-data. "
                "This limit can be tuned by 'http_max_multipart_form_data_size' setting",
            )
        yield piece
