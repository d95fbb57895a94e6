"""`lockgate tail`, before it connects to anything."""

from __future__ import annotations

from click.testing import CliRunner

from lockgate.cli.main import load


def test_a_stream_without_a_contract_is_refused_at_once() -> None:
    """A tail that waited for one would wait for a word that was misspelt."""
    result = CliRunner().invoke(load("tail"), ["--stream", "paymnets"])
    assert result.exit_code == 2
    said = " ".join(result.output.replace("│", " ").split())
    assert "there is no stream 'paymnets'" in said
    assert "github_events, payments" in said
