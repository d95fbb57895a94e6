"""A replay against the real broker: every line is in the topic once, or accounted for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo import bad_events
from demo.inputs import SAMPLE, write_lines
from lockgate.clients.errors import TransientError
from lockgate.clients.kafka import BrokerUnavailable, KafkaAdmin, UnknownTopic
from lockgate.contracts import Contract
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.embedded.ports import free_ports
from lockgate.operations.replay import ReplayFailed, ReplayProgress, replay
from lockgate.operations.replay_source import Lines, source_files
from lockgate.settings import Settings

InTopic = Callable[[Contract], Counter[bytes | None]]


def numbered(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"id":"{number}","created_at":"2016-01-01T00:00:00Z"}}\n' for number in range(count)))
    return path


def test_the_sample_is_in_the_topic_line_for_line(settings: Settings, events: Contract, in_topic: InTopic) -> None:
    result = replay(settings, events, SAMPLE)
    lines = Counter[bytes | None](line for file in source_files(SAMPLE) for line in Lines(file))
    assert in_topic(events) == lines
    assert (result.files, result.lines, result.produced) == (3, 36_786, 36_786)
    assert result.bytes == sum(len(line or b"") * count for line, count in lines.items())
    assert (result.oversized, result.failed, result.unconfirmed, result.interrupted) == (0, 0, 0, False)


@pytest.mark.timeout(30)
def test_without_a_broker_it_says_so_within_seconds(settings: Settings, events: Contract) -> None:
    (port,) = free_ports(1)
    with pytest.raises(TransientError, match=rf"127\.0\.0\.1:{port}.*lockgate status"):
        replay(settings.model_copy(update={"kafka_port": port}), events, SAMPLE)


def test_bad_lines_are_sent_as_they_are_and_one_too_large_is_kept_beside(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    bad = bad_events.bad_events(bad_events.valid_lines(SAMPLE, events))
    result = replay(settings, events, write_lines(tmp_path / "bad.ndjson", bad))
    large = max((event.line for event in bad), key=len)
    assert in_topic(events) == Counter(event.line for event in bad if event.line != large)
    assert (result.produced, result.oversized) == (bad_events.EXPECTED.messages, bad_events.EXPECTED.oversized)
    assert result.oversized_path is not None
    assert result.oversized_path.read_bytes().endswith(large + b"\n")


def test_copies_have_identities_of_their_own_and_times_end_now(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    replay(settings, events, numbered(tmp_path / "a.ndjson", 100), repeat=3, shift_to=now)
    sent = [json.loads(line or b"") for line in in_topic(events).elements()]
    assert len({event["id"] for event in sent}) == len(sent) == 300
    assert {event["created_at"] for event in sent} == {"2024-05-01T12:00:00Z"}


@pytest.mark.parametrize(("rate", "count"), [(500.0, 1_500), (20.0, 50)])
def test_a_rate_is_never_exceeded_and_nearly_kept(
    settings: Settings, events: Contract, tmp_path: Path, rate: float, count: int
) -> None:
    """Within 5 % on a quiet machine; a busy one may take far longer, but is never faster."""
    seen: list[ReplayProgress] = []
    replay(settings, events, numbered(tmp_path / "a.ndjson", count), rate=rate, on_progress=seen.append)
    all_sent = min(at.seconds for at in seen if at.lines == count)
    assert 0.3 * rate < count / all_sent < 1.05 * rate


def test_what_was_stopped_goes_on_where_it_stopped(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    path = numbered(tmp_path / "a.ndjson", 20_000)
    asked = iter([False] * 7 + [True] * 100)
    first = replay(settings, events, path, stop=lambda: next(asked))
    assert first.interrupted
    assert first.produced == first.lines < 20_000
    second = replay(settings, events, path, resume=True)
    assert second.resumed_lines == first.lines
    assert in_topic(events) == Counter(Lines(path))
    assert replay(settings, events, path, resume=True).lines == 0


def test_ctrl_c_ends_the_command_tidily(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    path = numbered(tmp_path / "a.ndjson", 50_000)
    child = _command(settings, path, "--rate", "5000/s")
    _wait_for_messages(settings, events, 5_000)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"--resume goes on from here" in said
    replay(settings, events, path, resume=True)
    assert in_topic(events) == Counter(Lines(path))


def test_after_kill_9_nothing_is_missing_and_only_the_last_chunks_are_sent_again(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    path = numbered(tmp_path / "a.ndjson", 50_000)
    child = _command(settings, path, "--rate", "8000/s")
    _wait_for_messages(settings, events, 20_000)
    child.kill()
    child.wait()
    result = replay(settings, events, path, resume=True)
    sent = in_topic(events)
    assert set(sent) == set(Lines(path))
    assert result.resumed_lines > 0
    assert sent.total() - 50_000 < 20_000


def test_a_file_that_breaks_off_fails_with_what_was_sent(
    settings: Settings, events: Contract, in_topic: InTopic, tmp_path: Path
) -> None:
    whole = (SAMPLE / "2016-01-01-03.ndjson.gz").read_bytes()
    (tmp_path / "cut.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReplayFailed, match="is broken at byte") as error:
        replay(settings, events, tmp_path)
    result, sent = error.value.result, in_topic(events)
    assert sent.total() == result.produced == result.lines > 1_000
    assert all(json.loads(line or b"") for line in sent), "whole lines alone"


def test_files_without_a_line_fail(settings: Settings, events: Contract, tmp_path: Path) -> None:
    (tmp_path / "nothing.ndjson").touch()
    with pytest.raises(ReplayFailed, match=r"not one line in nothing\.ndjson"):
        replay(settings, events, tmp_path)


def _command(settings: Settings, path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lockgate.cli", "replay", str(path), "--stream", "github_events", *arguments],
        env=inherited(settings_environment(settings)),
        stdout=subprocess.PIPE,
    )


def _wait_for_messages(settings: Settings, contract: Contract, count: int) -> None:
    admin, deadline = KafkaAdmin(settings), time.monotonic() + 60
    while True:
        try:
            ends = admin.watermarks(contract.topic, range(contract.partitions))
            if sum(end.high for end in ends.values()) >= count:
                return
        except (UnknownTopic, BrokerUnavailable):
            pass  # the command has not made it yet, or it has no leader yet
        assert time.monotonic() < deadline, f"waited for {count} messages"
        time.sleep(0.05)
