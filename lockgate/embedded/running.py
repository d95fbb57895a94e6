"""What a command that needs the servers asks first: whether they run at all."""

from __future__ import annotations

from lockgate.embedded.errors import StackError
from lockgate.embedded.state import read_state
from lockgate.settings import Settings


def running() -> Settings:
    """The settings, where what they name is, or should be, there.

    Raises StackError where a part is the embedded one and no stack runs: a sentence at once, instead of what each client would
    say of it after its timeout. Addresses of one's own are not asked here.
    """
    settings = Settings()
    if len(settings.embedded_services) > 1 and not is_running(settings):
        raise StackError(f"no stack runs in {settings.home_dir}: `lockgate up`")
    return settings


def is_running(settings: Settings) -> bool:
    state = read_state(settings.home_dir)
    return state is not None and state.is_running
