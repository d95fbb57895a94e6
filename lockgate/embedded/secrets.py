"""Passwords of the embedded parts: made once, at the first start, readable by their owner only."""

from __future__ import annotations

import json
import secrets

from lockgate.embedded.errors import StackError
from lockgate.embedded.files import write_atomically
from lockgate.settings import Settings

ACCOUNTS = {
    "clickhouse": ("platform", "transform", "gate", "analyst"),
    "postgres": ("lockgate",),
}


def ensure_secrets(settings: Settings) -> dict[str, dict[str, str]]:
    """The passwords by service and user; accounts that have none yet get one, the others keep theirs.

    Raises StackError where the file exists and cannot be read: making new ones would lock us out of our own data.
    """
    path = settings.secrets_file
    kept: dict[str, dict[str, str]] = {}
    if path.exists():
        try:
            kept = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StackError(
                f"{path} cannot be read ({error}): bring it back from a backup, "
                f"or remove {settings.home_dir} to start anew"
            ) from error
    complete = {
        service: {**kept.get(service, {}), **_new_passwords(users, kept.get(service, {}))}
        for service, users in ACCOUNTS.items()
    }
    if complete != kept:
        write_atomically(path, json.dumps(complete, indent=2) + "\n", mode=0o600)
    return complete


def _new_passwords(users: tuple[str, ...], kept: dict[str, str]) -> dict[str, str]:
    return {user: secrets.token_urlsafe(24) for user in users if user not in kept}
