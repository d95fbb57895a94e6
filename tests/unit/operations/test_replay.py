"""The rules of a replay that need no server: files, rate, progress, copies."""

from __future__ import annotations

import gzip
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lockgate.contracts import Contract, load_contract
from lockgate.operations.replay import contract_of, parse_rate, shift_to_end_at
from lockgate.operations.replay_sending import RateLimiter
from lockgate.operations.replay_source import Lines, Position, ProgressFile, ReplayError, require_events, source_files
from lockgate.operations.rewriting import Rewriter, event_seconds
from lockgate.settings import ROOT, Settings


@pytest.fixture
def contract() -> Contract:
    return load_contract(ROOT / "contracts" / "github_events.yml")


class TestFiles:
    def test_are_taken_in_order_of_their_names_and_others_are_left(self, tmp_path: Path) -> None:
        for name in ("b.ndjson.gz", "a.json", "c.json.gz", "a.ndjson", "README.md", "d.csv.gz"):
            (tmp_path / name).touch()
        (tmp_path / "folder.json").mkdir()
        assert [p.name for p in source_files(tmp_path)] == ["a.json", "a.ndjson", "b.ndjson.gz", "c.json.gz"]

    @pytest.mark.parametrize("name", ["missing", "README.md", "empty"])
    def test_a_wrong_path_is_one_sentence(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "README.md").touch()
        (tmp_path / "empty").mkdir()
        with pytest.raises(ReplayError, match=name) as error:
            source_files(tmp_path / name)
        assert "\n" not in str(error.value)

    def test_lines_are_the_bytes_as_they_stand_with_empty_and_broken_ones(self, tmp_path: Path) -> None:
        lines = [b'{"id":1}', b"", b"\xff\xfe broken", b'{"id": 2} \r', b"no line feed at the end"]
        (tmp_path / "a.ndjson").write_bytes(b"\n".join(lines))
        (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines)))
        assert list(Lines(tmp_path / "a.ndjson")) == lines
        assert list(Lines(tmp_path / "a.ndjson.gz")) == lines

    def test_several_gzip_members_are_one_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"1\n2\n") + gzip.compress(b"3\n"))
        assert list(Lines(tmp_path / "a.json.gz")) == [b"1", b"2", b"3"]

    @pytest.mark.parametrize("count", [3, 5000], ids=["less than a buffer", "more than one"])
    def test_of_a_file_that_breaks_off_the_whole_lines_before_are_read(self, tmp_path: Path, count: int) -> None:
        lines, packed = self.packed(count)
        path = tmp_path / "cut.ndjson.gz"
        path.write_bytes(packed[: len(packed) * 2 // 3])
        read = self.read_until_broken(path, r"in line {number:,}: it breaks off.*{before:,} lines before that")
        assert 0 < len(read) < count
        assert read == lines[: len(read)]

    def test_of_a_file_whose_checksum_is_wrong_no_line_is_lost(self, tmp_path: Path) -> None:
        """It is known at the file's end only, so nothing of the chunk before it may be thrown away with it."""
        lines, packed = self.packed(1000)
        path = tmp_path / "damaged.json.gz"
        path.write_bytes(packed[:-8] + b"\0" * 8)
        assert self.read_until_broken(path, r"in line {number:,}: Error .*incorrect data check") == lines

    @staticmethod
    def packed(count: int) -> tuple[list[bytes], bytes]:
        import random

        lines = [random.Random(number).randbytes(1000).hex().encode() for number in range(count)]
        return lines, gzip.compress(b"\n".join(lines) + b"\n")

    @staticmethod
    def read_until_broken(path: Path, said: str) -> list[bytes]:
        read: list[bytes] = []
        with pytest.raises(ReplayError) as raised:
            read.extend(Lines(path))
        text = str(raised.value)
        assert re.search(said.format(number=len(read) + 1, before=len(read)), text), text
        byte = int(text.partition("at byte ")[2].partition(", in")[0].replace(",", ""))
        assert 0 < byte <= path.stat().st_size
        return read

    def test_files_without_a_line_are_refused_before_anything_is_started(self, tmp_path: Path) -> None:
        (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(b""))
        (tmp_path / "b.ndjson").touch()
        with pytest.raises(ReplayError, match="holds no events"):
            require_events(tmp_path)
        (tmp_path / "c.ndjson").write_bytes(b"1")
        require_events(tmp_path)


class TestRate:
    @pytest.mark.parametrize(
        ("text", "per_second"), [("500", 500), ("500/s", 500), ("30000/m", 500), ("1.8e6/h", 500), ("0.5/s", 0.5)]
    )
    def test_is_read(self, text: str, per_second: float) -> None:
        assert parse_rate(text) == per_second

    @pytest.mark.parametrize("text", ["", "fast", "0/s", "-1", "5/day", "inf", "nan"])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(ReplayError, match="is not a rate"):
            parse_rate(text)

    def test_is_kept_over_the_whole_run(self) -> None:
        clock = Clock()
        limiter = RateLimiter(100, clock)
        for sent in range(1, 1001):
            clock.now += 0.001 + limiter.wait_seconds(sent)  # sending itself takes time, too
        assert 1000 / clock.now == pytest.approx(100, rel=0.01)

    def test_a_short_stall_is_made_up_for_and_a_long_one_is_not(self) -> None:
        clock = Clock()
        limiter = RateLimiter(100, clock)
        limiter.wait_seconds(0)
        clock.now = 0.5
        assert limiter.wait_seconds(1) == 0  # 49 behind: no waiting until they are made up for
        assert limiter.wait_seconds(100) == pytest.approx(0.5)
        clock.now = 1000.0
        assert limiter.wait_seconds(100) == 0
        assert limiter.wait_seconds(250) == pytest.approx(0.5)  # one second's worth of catching up, no more

    def test_the_run_begins_with_the_first_question_so_that_preparing_is_not_made_up_for(self) -> None:
        clock = Clock()
        limiter = RateLimiter(100, clock)
        clock.now = 5.0
        assert limiter.wait_seconds(10) == pytest.approx(0.1)

    def test_none_means_no_waiting(self) -> None:
        assert RateLimiter(None, Clock()).wait_seconds(10**9) == 0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestProgressFile:
    def test_is_found_again_for_the_same_files_and_topic_only(self, tmp_path: Path) -> None:
        source = tmp_path / "a.ndjson"
        source.write_text("1\n")
        topic_id = uuid.uuid4()
        ProgressFile(tmp_path, "s", topic_id, [source], 1).save(Position(17, 3600))
        assert ProgressFile(tmp_path, "s", topic_id, [source], 1).load() == Position(17, 3600)
        assert ProgressFile(tmp_path, "s", uuid.uuid4(), [source], 1).load() == Position()
        assert ProgressFile(tmp_path, "s", topic_id, [source], 2).load() == Position()
        source.write_text("1\n2\n")
        assert ProgressFile(tmp_path, "s", topic_id, [source], 1).load() == Position()

    def test_a_broken_one_is_not_taken_for_the_start(self, tmp_path: Path) -> None:
        progress = ProgressFile(tmp_path, "s", uuid.uuid4(), [], 1)
        progress.path.write_text("{")
        with pytest.raises(ReplayError, match="without --resume"):
            progress.load()


class TestCopies:
    def test_the_first_keeps_everything(self, contract: Contract) -> None:
        assert not Rewriter(contract, 1, None).changes_something

    def test_later_ones_differ_in_the_identity_and_in_nothing_else(self, contract: Contract) -> None:
        line = b'{ "payload": {"id": "7", "size": 1.10}, "id":"7",  "type":"PushEvent", "n":1e400 }'
        copied = Rewriter(contract, 3, None)(line)
        assert copied == line.replace(b'"id":"7",', b'"id":"7-r3",')

    def test_a_number_as_identity_becomes_a_text(self, contract: Contract) -> None:
        assert Rewriter(contract, 2, None)(b'{"id":7}') == b'{"id":"7-r2"}'

    @pytest.mark.parametrize("line", [b'{"type":"x"}', b'{"id":null}', b'{"id":{"a":1}}', b" {} "])
    def test_an_event_without_identity_gets_other_content(self, contract: Contract, line: bytes) -> None:
        second, third = Rewriter(contract, 2, None)(line), Rewriter(contract, 3, None)(line)
        assert len({line, second, third}) == 3
        assert json.loads(second) == {"replay_copy": 2, **json.loads(line)}

    @pytest.mark.parametrize(
        "line", [b"", b"no json", b"[1]", b'{"id":"7"', b'{"id":"\xff"}', b'{"id" "7"}', b'{"id":"7",}', b"[" * 100_000]
    )
    def test_what_does_not_parse_is_sent_as_it_is_and_counted(self, contract: Contract, line: bytes) -> None:
        rewriter = Rewriter(contract, 2, timedelta(hours=1))
        assert rewriter(line) == line
        assert rewriter.unreadable == 1


class TestShift:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ('"2016-01-01T01:59:59Z"', '"2016-01-01T03:00:00Z"'),
            ('"2016-01-01T01:59:59.123456Z"', '"2016-01-01T03:00:00.123456Z"'),
            ('"2016-01-01 01:59:59"', '"2016-01-01 03:00:00"'),
            ('"2012/02/28 23:30:00 -0800"', '"2012/02/29 00:30:01 -0800"'),
            ("1451613599", "1451617200"),
            ("1451613599.250", "1451617200.250"),
            ('"1451613599"', '"1451617200"'),
        ],
    )
    def test_moves_a_time_and_keeps_its_shape(self, contract: Contract, before: str, after: str) -> None:
        rewriter = Rewriter(contract, 1, timedelta(hours=1, seconds=1))
        assert rewriter(f'{{"id":"1","created_at":{before}}}'.encode()).decode() == f'{{"id":"1","created_at":{after}}}'

    def test_together_with_a_fresh_identity(self, contract: Contract) -> None:
        line = b'{"created_at":"2016-01-01T00:00:00Z","id":"1"}'
        assert Rewriter(contract, 2, timedelta(days=1))(line) == b'{"created_at":"2016-01-02T00:00:00Z","id":"1-r2"}'

    @pytest.mark.parametrize("time", ['"soon"', "true", "null", '"9999-12-31T23:59:59Z"'])
    def test_what_is_no_time_stays(self, contract: Contract, time: str) -> None:
        rewriter = Rewriter(contract, 1, timedelta(days=1))
        line = f'{{"id":"1","created_at":{time}}}'.encode()
        assert rewriter(line) == line
        assert rewriter.unreadable == 1

    def test_the_last_event_that_is_not_in_the_far_future_becomes_the_end(
        self, contract: Contract, tmp_path: Path
    ) -> None:
        source = tmp_path / "a.ndjson"
        times = ["2016-01-01T00:00:00Z", "2016-01-01T02:00:00+01:00", "2199-01-01T00:00:00Z"]
        source.write_text("".join(json.dumps({"created_at": time}) + "\n" for time in times) + "broken\n")
        end = datetime(2020, 1, 1, 1, tzinfo=UTC)
        assert shift_to_end_at([source], contract, end) == end - datetime(2016, 1, 1, 1, tzinfo=UTC)

    def test_without_any_time_there_is_nothing_to_shift(self, contract: Contract, tmp_path: Path) -> None:
        (tmp_path / "a.ndjson").write_text("{}\n")
        with pytest.raises(ReplayError, match="no event"):
            shift_to_end_at([tmp_path / "a.ndjson"], contract, datetime(2020, 1, 1, tzinfo=UTC))

    @pytest.mark.parametrize("line", [b'{"created_at": true}', b'{"created_at": [1]}', b"\xff", b"{}"])
    def test_an_unreadable_time_is_none(self, contract: Contract, line: bytes) -> None:
        assert event_seconds(line, contract) is None


def test_an_unknown_stream_names_those_that_there_are() -> None:
    with pytest.raises(ReplayError, match="github_events, payments"):
        contract_of(Settings(), "nothing")
