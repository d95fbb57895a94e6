"""A producer that sends what the Python client refuses to: other languages' clients do not look at a header's name."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p, create_string_buffer

from confluent_kafka import cimpl

# librdkafka's `rd_kafka_vtype_t`: what the next argument of `rd_kafka_producev` is.
_END, _TOPIC, _VALUE, _MSGFLAGS, _HEADER = 0, 1, 4, 7, 9
_COPY, _PRODUCER = 2, 0


def produce_with_header(bootstrap: str, topic: str, value: bytes, name: bytes, header: bytes) -> None:
    """Send one message with one header, whose name may be any bytes but zero."""
    library = ctypes.CDLL(cimpl.__file__)  # finds librdkafka, which it is linked with
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = c_void_p
    error = create_string_buffer(512)
    settings = c_void_p(library.rd_kafka_conf_new())
    assert library.rd_kafka_conf_set(settings, b"bootstrap.servers", bootstrap.encode(), error, 512) == 0, error.value
    client = c_void_p(library.rd_kafka_new(_PRODUCER, settings, error, c_size_t(512)))
    assert client, error.value
    try:
        sent = library.rd_kafka_producev(
            client,
            *(c_int(_TOPIC), c_char_p(topic.encode())),
            *(c_int(_VALUE), c_char_p(value), c_size_t(len(value))),
            *(c_int(_MSGFLAGS), c_int(_COPY)),
            *(c_int(_HEADER), c_char_p(name), c_char_p(header), c_ssize_t(len(header))),
            c_int(_END),
        )
        assert sent == 0, sent
        assert library.rd_kafka_flush(client, 20_000) == 0
    finally:
        library.rd_kafka_destroy(client)
