"""The one failure that people see from this package."""

from __future__ import annotations


class StackError(RuntimeError):
    """The embedded stack cannot do what was asked; the message says why and what to do, for a person."""
