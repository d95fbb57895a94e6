"""Form data, in whatever pieces it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.embedded.warehouse import multipart
from lockgate.embedded.warehouse.errors import WarehouseError

BODY = (
    b'a preamble\r\n--b x\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT 1\r\n'
    b"--b x  \r\ncontent-type: text/plain\r\ncontent-disposition:form-data;filename=f;name=ext\r\n\r\n1\r\n--b \r\n2\r\n\r\n"
    b'--b x\r\nContent-Disposition: form-data; name="a \\"quoted\\" name"; x="; filename=no"\r\n\r\n\r\n'
    b"--b x--\r\nan epilogue"
)
PARTS = [("query", False, b"SELECT 1"), ("ext", True, b"1\r\n--b \r\n2\r\n"), ('a "quoted" name', False, b"")]


def _read(body: bytes, step: int) -> list[tuple[str, bool, bytes]]:
    pieces = (body[at : at + step] for at in range(0, len(body), step))
    return [(part.name, part.is_file, part.value()) for part in multipart.parts(pieces, "b x")]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_parts(step: int) -> None:
    assert _read(BODY, step) == PARTS


def test_a_part_that_nobody_reads_is_skipped() -> None:
    assert [part.name for part in multipart.parts(iter([BODY]), "b x")] == [name for name, _, _ in PARTS]


def test_a_file_is_not_held() -> None:
    """Twice the limit of a field goes through in pieces no larger than they came."""
    start = b'--b x\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    body = iter([start, *[b"y" * 10_000] * 30, b"\r\n--b x--"])
    (part,) = (list(part.pieces) for part in multipart.parts(body, "b x"))
    assert b"".join(part) == b"y" * 300_000
    assert max(map(len, part)) <= 10_000 + 10


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 33),
        (BODY[:-20], 33),
        (b"--b x\r\nno end of the head", 33),
        (b"--b x\r\n" + b"x" * 70_000, 1000),
        (b'--b x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 140_000, 1000),
        (b"--b x\r\n\r\n\r\n" * 1002, 1000),
    ],
)
def test_what_is_no_form(body: bytes, code: int) -> None:
    with pytest.raises(WarehouseError) as caught:
        _read(body, 4096)
    assert caught.value.code == code


@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_ends(body: bytes, step: int) -> None:
    with pytest.raises(WarehouseError):
        _read(body, step)
