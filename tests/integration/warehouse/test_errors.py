"""The numbers and names of errors, as the engine itself has them."""

from __future__ import annotations

from lockgate.embedded.warehouse import errors

from .conftest import RunningWarehouse


def test_our_errors_have_the_engines_numbers(warehouse: RunningWarehouse) -> None:
    numbers = ", ".join(map(str, errors.NAMES))
    found = warehouse.ask(f"SELECT arrayJoin([{numbers}]) AS number, errorCodeToName(number)")
    assert {int(number): name for number, name in (line.split("\t") for line in found.splitlines())} == errors.NAMES
