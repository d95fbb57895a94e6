"""The two kinds of failure that every client tells apart."""

from __future__ import annotations


class ClientError(RuntimeError):
    """A server refused; asking again the same way will be refused again."""


class TransientError(ClientError):
    """A server was away, busy or cut off. The outcome of what was asked is unknown; asking later may succeed."""
