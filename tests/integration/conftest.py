"""The real stack, for every test of this layer."""

from tests.stacks import new_home, stack

__all__ = ["new_home", "stack"]
