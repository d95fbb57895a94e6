"""Messages as an Arrow stream for the inbox: columns of bytes, nothing parsed, nothing decoded."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from operator import methodcaller
from typing import Any

import pyarrow as pa

from lockgate.ledger.batches import Batch

logger = logging.getLogger(__name__)

# What a header is called whose name is no UTF-8; the client library does not hand out its bytes.
UNREADABLE_NAME = "\N{REPLACEMENT CHARACTER}"

Header = tuple[str, bytes | None]

# Called this way, and not as `message.headers()`, because only this way does Python always look for an error left behind.
_ask_for_headers = methodcaller("headers")

_HEADER = pa.struct([("1", pa.binary()), ("2", pa.binary())])
SCHEMA = pa.schema(
    [
        ("_topic", pa.string()),
        ("_topic_id", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_kafka_timestamp", pa.timestamp("ms", "UTC")),
        ("_key", pa.binary()),
        ("_headers", pa.list_(_HEADER)),
        ("_batch", pa.uint64()),
        ("_generation", pa.uint32()),
        ("_raw", pa.binary()),
    ]
)


_CHUNK_BYTES = 1 << 20


def encode(batch: Batch, messages: list[Any]) -> Iterator[memoryview]:
    """One record batch, hence one block: the unit that the warehouse stores whole or not at all. In pieces of a megabyte,
    none of them copied.
    """
    count = len(messages)
    origin = batch.topic_partition
    arrays = [
        pa.repeat(pa.scalar(origin.topic, pa.string()), count),
        pa.repeat(pa.scalar(str(origin.topic_id), pa.string()), count),
        pa.repeat(pa.scalar(origin.partition, pa.int32()), count),
        pa.array([m.offset() for m in messages], pa.int64()),
        pa.array([m.timestamp()[1] for m in messages], pa.timestamp("ms", "UTC")),
        pa.array([m.key() for m in messages], pa.binary()),
        _headers(messages),
        pa.repeat(pa.scalar(batch.batch_id, pa.uint64()), count),
        pa.repeat(pa.scalar(batch.generation, pa.uint32()), count),
        pa.array([m.value() for m in messages], pa.binary()),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    whole = memoryview(sink.getvalue())
    return (whole[at : at + _CHUNK_BYTES] for at in range(0, len(whole), _CHUNK_BYTES))


def _headers(messages: list[Any]) -> pa.Array:
    headers = [headers_of(m) for m in messages]
    if not any(headers):
        return pa.ListArray.from_arrays(pa.array([0] * (len(messages) + 1), pa.int32()), pa.array([], _HEADER))
    return pa.array([[{"1": k.encode(), "2": v} for k, v in h or ()] for h in headers], pa.list_(_HEADER))


def headers_of(message: Any) -> list[Header] | None:
    """A message's headers; None where it has none.

    confluent_kafka 2.x puts a null pointer where a header's name should be if that is no UTF-8: to touch it ends the process.
    One such message would end every tick from then on, so its name is told as UNREADABLE_NAME instead.
    """
    try:
        found: list[Header] | None = _ask_for_headers(message)
        return found
    except SystemError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    logger.warning("%s[%d] %d: a header's name is not UTF-8", message.topic(), message.partition(), message.offset())
    kept = _ask_for_headers(message)  # the library remembers what it made, so this time there is no error
    return [_readable(header) for header in kept]


def _readable(header: Header) -> Header:
    there = gc.get_referents(header)  # passes over null pointers
    return header if len(there) == 2 else (UNREADABLE_NAME, there[0])
