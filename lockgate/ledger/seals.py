"""Seals: the source's promise that nothing of a stream that happened before some time will come any more. Signed.

Belongs here: what was promised and withdrawn, and what is in force. Does not: what follows from it (`lockgate.core.settled`).
"""

from __future__ import annotations

from datetime import datetime

from lockgate.clients.postgres import Postgres

_IN_FORCE = """
    SELECT stream, max(through) AS through FROM seal
    WHERE seal_id >= coalesce((SELECT max(seal_id) FROM seal AS last WHERE last.withdraws AND last.stream = seal.stream), 0)
    GROUP BY stream HAVING max(through) IS NOT NULL"""


class Seals:
    """Every method is one transaction. Rows are only ever added: who said what, when and why stays."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def seal(self, stream: str, through: datetime, by: str, why: str = "") -> None:
        """An earlier time than the one in force changes nothing: a promise is not taken back by a smaller one."""
        self._add(stream, through, by, why, withdraws=False)

    def withdraw(self, stream: str, back_to: datetime | None, by: str, why: str) -> None:
        """What was promised before holds no more; from now on the stream is sealed through `back_to`, or not at all."""
        self._add(stream, back_to, by, why, withdraws=True)

    def _add(self, stream: str, through: datetime | None, by: str, why: str, *, withdraws: bool) -> None:
        with self._postgres.transaction() as connection:
            connection.execute(
                "INSERT INTO seal (stream, through, sealed_by, why, withdraws) VALUES (%s, %s, %s, %s, %s)",
                (stream, through, by, why, withdraws),
            )

    def in_force(self) -> dict[str, datetime]:
        """Stream → through when it is sealed; streams that are not are absent."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(_IN_FORCE).fetchall()
        return {row["stream"]: row["through"] for row in rows}
