# ruff: noqa: E501 (an example is one line, as in the documentation)
"""The examples of ClickHouse's documentation of its HTTP interface, by `curl` as they stand there: what is sent, what
comes back. Left out: predefined handlers (`http_handlers`), which are a server's configuration.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from .conftest import RunningWarehouse

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl in PATH (Debian: apt install curl)")

# `$U` is the server's address, `$L` a login for the query string, `$N` a login for curl (-u). The text is a pattern.
EXAMPLES = [
    ("a GET without a query", "curl $U/", "Ok."),
    ("for health checks", "curl $U/ping", "Ok."),
    ("and of replicas", "curl $U/replicas_status", "Ok."),
    ("a query in the URL", "curl $N '$U/?query=SELECT%201'", "1"),
    ("a query in the body", "echo 'SELECT 1' | curl $N '$U/' --data-binary @-", "1"),
    ("an empty query in the URL", "echo 'SELECT 1' | curl $N '$U/?query=' --data-binary @-", "1"),
    ("in both", "echo '1' | curl $N '$U/?query=SELECT' --data-binary @-", "1"),
    ("not within a word", "echo 'ECT 1' | curl $N '$U/?query=SEL' --data-binary @-", r"Code: 62\. DB::Exception: Syntax error: [\s\S]*"),
    ("raw HTTP/1.0", "curl $N -si --http1.0 '$U/?query=SELECT%201'",
     r"HTTP/1\.0 200 OK\r?\n[\s\S]*X-ClickHouse-Summary: \{\"read_rows\":\"1\",\"read_bytes\":\"1\"[\s\S]*\n\r?\n1"),
    ("a format", "echo 'SELECT 1 FORMAT Pretty' | curl $N '$U/?' --data-binary @-", r"[\s\S]*┏━+┓[\s\S]*┡━+┩[\s\S]*└─+┘"),
    ("a default format", "curl $N '$U/?default_format=JSONCompactColumns' -d 'SELECT 1'", r"\[\s*\[1\]\s*\]"),
    ("a default format by header", "curl $N -H 'X-ClickHouse-Format: CSVWithNames' '$U/' -d 'SELECT 1 AS x'", '"x"\n1'),
    ("form data", "curl $N -X POST -F 'query=select {p1:UInt8} + {p2:UInt8}' -F 'param_p1=3' -F 'param_p2=4' '$U/'", "7"),
    ("make a table", "echo 'CREATE TABLE t (a UInt8) ENGINE = Memory' | curl $N '$U/?$D' --data-binary @-", ""),
    ("insert", "echo 'INSERT INTO t VALUES (1),(2),(3)' | curl $N '$U/?$D' --data-binary @-", ""),
    ("insert, apart", "echo '(4),(5),(6)' | curl $N '$U/?$D&query=INSERT%20INTO%20t%20VALUES' --data-binary @-", ""),
    ("insert by format", "echo '(7),(8),(9)' | curl $N '$U/?$D&query=INSERT%20INTO%20t%20FORMAT%20Values' --data-binary @-", ""),
    ("insert TSV", r"printf '10\n11\n12\n' | curl $N '$U/?$D&query=INSERT%20INTO%20t%20FORMAT%20TabSeparated' --data-binary @-", ""),
    ("read it", "curl $N '$U/?$D&query=SELECT%20a%20FROM%20t%20ORDER%20BY%20a'", "\n".join(map(str, range(1, 13)))),
    ("drop it", "echo 'DROP TABLE t' | curl $N '$U/?$D' --data-binary @-", ""),
    ("a compressed body", "echo 'SELECT 1' | gzip -c | curl $N -sS --data-binary @- -H 'Content-Encoding: gzip' '$U/'", "1"),
    ("a compressed answer",
     "curl $N -sS '$U/?enable_http_compression=1' -H 'Accept-Encoding: gzip' -d 'SELECT number FROM system.numbers LIMIT 3' | gunzip -",
     "0\n1\n2"),
    ("curl's own decompression", "curl $N -sS --compressed '$U/' -d 'SELECT number FROM system.numbers LIMIT 3'", "0\n1\n2"),
    ("a database", "echo 'SELECT number FROM numbers LIMIT 3' | curl $N '$U/?database=system' --data-binary @-", "0\n1\n2"),
    ("a database by header", "curl $N -H 'X-ClickHouse-Database: system' $U/ -d 'SELECT number FROM numbers LIMIT 1'", "0"),
    ("basic authentication", "echo 'SELECT 1' | curl 'http://platform:platform-secret@$H/' -d @-", "1"),
    ("a login in the URL", "echo 'SELECT 1' | curl '$U/?user=platform&password=platform-secret' -d @-", "1"),
    ("a login by headers",
     "echo 'SELECT 1' | curl -H 'X-ClickHouse-User: platform' -H 'X-ClickHouse-Key: platform-secret' '$U/' -d @-", "1"),
    ("no login", "curl '$U/' -d 'SELECT 1'", r"Code: 516\. DB::Exception: default: Authentication failed[\s\S]*"),
    ("settings", "curl $N '$U/?max_rows_to_read=1000000000&query=SELECT+1'", "1"),
    ("a setting that ends the query", "curl $N '$U/?max_rows_to_read=1' -d 'SELECT sum(number) FROM numbers(10)'",
     r"Code: 158\. DB::Exception: [\s\S]*\(TOO_MANY_ROWS\)[\s\S]*"),
    ("progress", "curl $N -si '$U/?send_progress_in_http_headers=1&http_headers_progress_interval_ms=10&max_block_size=1' "
     "-d 'SELECT sum(sleepEachRow(0.1)) FROM numbers(3)'",
     r'HTTP/1\.1 200 OK\r?\nX-ClickHouse-Progress: \{"read_rows":"[12]","read_bytes":"\d+","total_rows_to_read":"3",[\s\S]*\n0'),
    ("response buffering",
     "curl $N -sS '$U/?max_result_bytes=4000000&buffer_size=3000000&wait_end_of_query=1' "
     "-d 'SELECT toUInt8(number) FROM system.numbers LIMIT 9000000 FORMAT RowBinary'",
     r"Code: 396\. DB::Exception: [\s\S]*\(TOO_MANY_ROWS_OR_BYTES\)[\s\S]*"),
    ("a role that is one's own", "curl $N '$U/?role=platform' -d 'SELECT currentRoles();'", r"\['platform'\]"),
    ("a role that is not", "curl $N '$U/?role=nobody' -d 'SELECT 1'", r"Code: 512\. DB::Exception: [\s\S]*"),
    ("not SET ROLE and more", "curl $N -sS $U --data-binary 'SET ROLE platform;SELECT 1;'",
     r"Code: 62\. DB::Exception: Syntax error \(Multi-statements are not allowed\)[\s\S]*"),
    ("an error has its status if the end is waited for", "curl $N -si '$U/?wait_end_of_query=1&max_block_size=1&query=select+throwIf(number=2)from+numbers(5)'",
     r"HTTP/1\.1 500 Internal Server Error[\s\S]*X-ClickHouse-Exception-Code: 395[\s\S]*"),
    ("an error after it stands in the body",
     "curl $N -s '$U/?max_threads=1&query=select+number,throwIf(number=900000)from+numbers(1000000)+FORMAT+CSV' | tail -n 7",
     r"\d+,0\r?\n[\s\S]*__exception__\r?\n[a-z]{16}\r?\nCode: 395\. DB::Exception: [\s\S]*\n\d+ [a-z]{16}\r?\n__exception__\r?"),
    ("parameters", "curl $N -sS '$U/?param_id=2&param_phrase=test' -d \"SELECT {id:UInt8}, {phrase:String}\"", "2\ttest"),
    ("a parameter that is NULL", r"curl $N -sS '$U/?param_x=%5CN' -d 'SELECT {x:Nullable(String)} IS NULL'", "1"),
    ("a tab in a text", r"""curl $N -sS '$U/' -d "SELECT splitByChar('\t', 'abc	123')" """, r"\['abc','123'\]"),
    ("a bare tab in a parameter", r"""curl $N -sS '$U/?param_arg1=abc%09123' -d "SELECT splitByChar('\t', {arg1:String})" """,
     r"Code: 457\. DB::Exception: [\s\S]*\(BAD_QUERY_PARAMETER\)[\s\S]*"),
    ("an escaped tab in a parameter", r"""curl $N -sS '$U/?param_arg1=abc%5C%09123' -d "SELECT splitByChar('\t', {arg1:String})" """,
     r"\['abc','123'\]"),
    ("GET only reads", "curl $N -si '$U/?query=CREATE%20TABLE%20x%20(a%20Int8)%20ENGINE=Memory'",
     r"HTTP/1\.1 500 [\s\S]*Code: 164\. DB::Exception: [\s\S]*\(READONLY\)[\s\S]*"),
    ("a session's temporary table",
     "curl $N '$U/?session_id=docs' -d 'CREATE TEMPORARY TABLE mine AS SELECT 5 AS x'; curl $N '$U/?session_id=docs' -d 'SELECT x FROM mine'", "5"),
    ("a session that is not there", "curl $N '$U/?session_id=none&session_check=1' -d 'SELECT 1'", r"Code: 372\. DB::Exception: [\s\S]*"),
    ("a query id", "curl $N -si '$U/?query_id=mine' -d 'SELECT 1'", r"[\s\S]*X-ClickHouse-Query-Id: mine\r?\n[\s\S]*"),
    ("external data", r"printf '1\tx\n' | curl $N -F 'ext=@-;' '$U/?query=SELECT+*+FROM+ext&ext_structure=a+UInt8,b+String'", "1\tx"),
    ("a page for people", "curl -si $U/play", r"HTTP/1\.1 200 OK[\s\S]*Content-Type: text/html[\s\S]*<textarea[\s\S]*"),
    ("what is not there", "curl -si $U/nothing", r"HTTP/1\.1 404 Not Found[\s\S]*There is no handle /nothing[\s\S]*"),
    ("a HEAD", "curl $N -sI '$U/?query=SELECT%201'", r"HTTP/1\.1 200 OK[\s\S]*X-ClickHouse-Format: TabSeparated[\s\S]*"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shell(warehouse: RunningWarehouse) -> Iterator[dict[str, str]]:
    """What stands for what in the examples."""
    warehouse.ask("CREATE DATABASE IF NOT EXISTS http_documentation")
    host = f"127.0.0.1:{warehouse.port}"
    yield {
        "$U": f"http://{host}",
        "$H": host,
        "$N": "-s -u platform:platform-secret",
        "$D": "database=http_documentation",
    }
    warehouse.ask("DROP DATABASE http_documentation")


@pytest.mark.parametrize(("command", "answer"), [example[1:] for example in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_examples_of_the_documentation(shell: dict[str, str], command: str, answer: str) -> None:
    for name, value in shell.items():
        command = command.replace(name, value)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = command.replace("curl ", "curl -s -m 30 ")
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, env=environment)
    found = done.stdout.decode(errors="replace")
    assert re.fullmatch(f"(?:{answer})\n?", found), found
