"""The integration tests of clickhouse-connect and of dbt-clickhouse, as they are, against our embedded warehouse.

    python -m tests.client_suites --clickhouse-connect CHECKOUT --dbt-clickhouse CHECKOUT [--work FOLDER] [-k EXPRESSION]

For each checkout that is named: a virtual environment of its own with the client in the version of our lock and with the
packages that the suite's requirements ask for, a server over a fresh folder, one run, one summary. Tests are copied out of
the checkout, so that the installed client is tested and not the checkout's own source. Exit code 1 if a test fails for
which no reason is written here. What the last run said is in docs/embedded-warehouse.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
USER = "suite"
NO_NEED = r"(pre-commit|ruff|mypy|yamllint|types-.*|cython|ipdb|pytest-cov)"  # of the clients' own linters and builds
# why a skipped test is set aside: the words of its own reason
ASIDE = r"cluster|cloud|docker|S3|TLS tests|[Pp]roxy|JWT"


@dataclass(frozen=True)
class Suite:
    client: str  # the distribution
    install: tuple[str, ...]  # what is installed in the lock's version
    requirements: str  # the checkout's file of what its tests need
    override: str  # requirements of that file that the lock replaces
    copy: tuple[str, ...]
    tests: str
    options: tuple[str, ...]
    environment: Callable[[int], dict[str, str]]
    aside: dict[str, str] = field(default_factory=dict)  # tests that are not run or not counted: why
    failing: dict[str, str] = field(default_factory=dict)  # tests that fail: why, and whose it is


_NEWER_CLIENT = "the client's: the locked one is newer than the suite's own 1.7.2, with which the test passes"
_CLUSTER = "needs a cluster: dbt's distributed materializations refuse without one"
SUITES = {
    "clickhouse-connect": Suite(
        client="clickhouse-connect",
        install=("clickhouse-connect[async,sqlalchemy]", "numpy", "pandas", "pyarrow"),
        requirements="tests/test_requirements.txt",
        override="numpy|pandas|pyarrow|sqlalchemy",
        copy=("tests", "pyproject.toml"),
        tests="tests/integration_tests",
        options=("-n", "2", "-o", "log_cli=false"),
        environment=lambda port: {
            "CLICKHOUSE_CONNECT_TEST_HOST": "127.0.0.1",
            "CLICKHOUSE_CONNECT_TEST_PORT": str(port),
            "CLICKHOUSE_CONNECT_TEST_USER": USER,
            "CLICKHOUSE_CONNECT_TEST_PASSWORD": USER,
        },
        failing={
            "test_error_handling.py::test_wrong_port_error_message": "the native protocol, on port 9000: not there",
            "test_async_features.py::test_concurrent_queries": "a limit of half a second: missed on a machine with other work",
            "test_client.py::test_show_row_policies": "CREATE ROW POLICY: chdb has no place to write it",
            "test_sqlalchemy/test_materialized_cte.py::test_disabled_materialized_cte_is_a_silent_no_op[analyzer-disabled]": (
                "the engine's: 26.9 refuses enable_analyzer = 0, and the suite knows 26.7"
            ),
            "test_sqlalchemy/test_alembic.py::test_alembic_autogenerate_positional_engine_live": _NEWER_CLIENT,
            "test_sqlalchemy/test_alembic.py::test_alembic_autogenerate_dictionary_round_trip_live": _NEWER_CLIENT,
            "test_sqlalchemy/test_alembic.py::test_alembic_dictionary_downgrade_uses_drop_dictionary_live": _NEWER_CLIENT,
            "test_sqlalchemy/test_alembic.py::test_alembic_dictionary_helpers_live": (
                "ours: SETTINGS log_queries = 0 is refused, because nobody may hide from the log"
            ),
            "test_dynamic.py::test_dynamic_shared_variant_unsupported_types": _NEWER_CLIENT,
            "test_error_handling.py::test_async_non_remote_close_connection_errors_are_not_retried[connection_timeout]": (
                _NEWER_CLIENT
            ),
        },
    ),
    "dbt-clickhouse": Suite(
        client="dbt-clickhouse",
        install=("dbt-clickhouse", "dbt-core", "dbt-adapters", "dbt-common", "clickhouse-connect", "requests"),
        requirements="dev_requirements.txt",
        override="dbt-core|requests",
        copy=("tests", "pytest.ini"),
        tests="tests/integration",
        options=(),
        environment=lambda port: {
            "DBT_CH_TEST_HOST": "127.0.0.1",
            "DBT_CH_TEST_PORT": str(port),
            "DBT_CH_TEST_USER": USER,
            "DBT_CH_TEST_PASSWORD": USER,
        },
        aside={
            "adapter/replicated_database/test_replicated_database.py": (
                "needs a cluster: a Replicated database needs Keeper; without it dbt's adapter stays broken for every test after"
            ),
            "adapter/constraints/test_constraints.py::TestDistributedTableContractColumnsEqual": _CLUSTER,
            "adapter/constraints/test_constraints.py::TestDistributedIncrementalContractColumnsEqual": _CLUSTER,
        },
    ),
}


@dataclass(frozen=True)
class Result:
    test: str  # file::Class::name[parameters], below the suite's folder of tests
    outcome: str  # passed | failed | skipped
    says: str  # the last line of the error, or the reason of the skip


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.client_suites", description=__doc__)
    for name in SUITES:
        parser.add_argument(f"--{name}", type=Path, metavar="CHECKOUT")
    parser.add_argument("--work", type=Path, help="for environments, data and logs; kept (default: a folder in /tmp)")
    parser.add_argument("-k", metavar="EXPRESSION", help="only these tests, as pytest takes it")
    options = parser.parse_args()
    chosen = {name: path for name in SUITES if (path := getattr(options, name.replace("-", "_"))) is not None}
    if not chosen:
        parser.error("name at least one checkout")
    work = (options.work or Path(tempfile.mkdtemp(prefix="client-suites-"))).absolute()
    good = [_run(SUITES[name], path.absolute(), work / name, options.k) for name, path in chosen.items()]
    return 0 if all(good) else 1


def _run(suite: Suite, checkout: Path, work: Path, only: str | None) -> bool:
    work.mkdir(parents=True, exist_ok=True)
    python = _environment(suite, checkout, work)
    place = work / "suite"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in suite.copy:
        source = checkout / name
        shutil.copytree(source, place / name) if source.is_dir() else shutil.copy(source, place / name)
    report, log = work / "report.xml", work / "pytest.log"
    report.unlink(missing_ok=True)
    with _server(work / "server") as port, log.open("wb") as output:
        begun = time.monotonic()
        deselected = [f"--deselect={suite.tests}/{test}" for test in suite.aside]
        command = [
            *(python, "-m", "pytest", suite.tests, *suite.options, *deselected, *(("-k", only) if only else ())),
            # the native traceback: pytest's own parses whole files, which some CPython 3.11 cannot (AST recursion)
            *("-q", "--tb=native", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_family=xunit1"),
        ]
        environment = {**os.environ, "PYTHONPATH": "", "TZ": "UTC", **suite.environment(port)}
        subprocess.run(command, cwd=place, env=environment, stdout=output, stderr=output, check=False)
        seconds = time.monotonic() - begun
    if not report.exists():
        print(f"{suite.client}: pytest did not finish, see {log}")
        return False
    revision = subprocess.run(
        ["git", "describe", "--tags", "--always"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    return _summarise(suite, list(_results(report, suite.tests)), f"{revision}, {_versions(python)}", seconds)


def _environment(suite: Suite, checkout: Path, work: Path) -> str:
    """The path of its Python: the client as locked, the suite's own requirements, the lock's versions where it has any."""
    uv, python = str(Path(sys.executable).with_name("uv")), str(work / "venv" / "bin" / "python")
    locked = [
        line.rstrip("\\ ") for line in (ROOT / "requirements.lock").read_text().splitlines() if re.match(r"\w", line)
    ]
    wanted = [line for line in (checkout / suite.requirements).read_text().splitlines() if re.match(r"\w", line)]
    wanted = [line for line in wanted if not re.match(rf"({NO_NEED}|{suite.override})\b", line)]
    (work / "constraints.txt").write_text("\n".join(locked))
    (work / "requirements.txt").write_text("\n".join([*suite.install, *wanted]))
    subprocess.run([uv, "venv", "-q", "--allow-existing", "-p", sys.executable, str(work / "venv")], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "-p", python, "-r", "requirements.txt", "-c", "constraints.txt"],
        cwd=work,
        check=True,
    )
    return python


def _versions(python: str) -> str:
    code = (
        "from importlib.metadata import distributions as d; wanted = ('clickhouse-connect', 'dbt-clickhouse', 'dbt-core', "
        "'sqlalchemy', 'pandas', 'pytest'); print(', '.join(sorted({x.name.lower() + ' ' + x.version for x in d() "
        "if x.name.lower() in wanted})))"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    """A warehouse over a fresh folder, with one user who may do everything; its port, on loopback."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    user = {"password_sha256": hashlib.sha256(USER.encode()).hexdigest(), "roles": [USER]}
    users, log = folder / "users.yaml", folder / "log"
    users.write_text(yaml.safe_dump({"users": {USER: user}, "roles": {USER: ["ALL ON *.* WITH GRANT OPTION"]}}))
    command = [sys.executable, "-m", "lockgate.embedded.warehouse", "--data", str(folder / "data"), "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--users", str(users)], cwd=ROOT, stdout=output, stderr=output)
    try:
        while (started := re.search(r"ClickHouse (\S+) on http://127\.0\.0\.1:(\d+)", log.read_text())) is None:
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        print(f"server: embedded warehouse, ClickHouse {started.group(1)}")
        yield int(started.group(2))
    finally:
        process.terminate()
        code = process.wait(60)
        print(f"server: ended with {code}" + (f", see {log}" if code or "Traceback" in log.read_text() else ""))


def _results(report: Path, tests: str) -> Iterator[Result]:
    """One for each test: an error of its setup or teardown makes it failed."""
    found: dict[str, Result] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        path = case.get("file") or f"{case.get('classname', '').replace('.', '/')}.py"
        module = path.removesuffix(".py").replace("/", ".")
        within = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
        name = "::".join(part for part in (path.removeprefix(f"{tests}/"), within, case.get("name", "")) if part)
        bad, skipped = case.find("failure"), case.find("skipped")
        bad = bad if bad is not None else case.find("error")
        if bad is not None:
            lines = [line for line in (bad.text or bad.get("message") or "").splitlines() if line.strip()]
            found[name] = Result(name, "failed", lines[-1].strip()[:200] if lines else "")
        elif skipped is not None:
            found.setdefault(name, Result(name, "skipped", skipped.get("message", "")[:200]))
        else:
            found.setdefault(name, Result(name, "passed", ""))
    yield from found.values()


def _summarise(suite: Suite, results: list[Result], versions: str, seconds: float) -> bool:
    """Print the counts and every test that did not pass, by reason. Whether each of these has a reason written here."""
    counts = Counter(result.outcome for result in results)
    skipped = [result for result in results if result.outcome == "skipped"]
    aside = {result.test: result.says for result in skipped if re.search(ASIDE, result.says)}
    failed = {result.test: result for result in results if result.outcome == "failed"}
    reasons = {test: _reason(suite.failing, test) for test in failed}
    counted = len(results) - len(aside)
    print(f"\n{suite.client}: checkout {versions}; {seconds:.0f} s")
    print(f"  collected {len(results) + len(suite.aside)}: {dict(counts)}, not run {len(suite.aside)}")
    share = 100 * counts["passed"] / counted if counted else 0.0
    print(f"  {counts['passed']} of {counted} that need no cluster, cloud or container pass: {share:.1f} %")
    _print_by_reason("not run", suite.aside)
    _print_by_reason("set aside", aside)
    _print_by_reason("skipped", {result.test: result.says for result in skipped if result.test not in aside})
    _print_by_reason("failed", {test: reason for test, reason in reasons.items() if reason})
    unknown = {test: failed[test].says for test, reason in reasons.items() if not reason}
    _print_by_reason("FAILED, no reason known", unknown)
    return not unknown


def _reason(reasons: dict[str, str], test: str) -> str:
    return next((why for start, why in reasons.items() if test.startswith(start)), "")


def _print_by_reason(what: str, tests: dict[str, str]) -> None:
    for why in dict.fromkeys(tests.values()):
        of = [test for test, reason in tests.items() if reason == why]
        print(f"  {what}, {len(of)}: {why}")
        for test in of:
            print(f"    {test}")


if __name__ == "__main__":
    sys.exit(main())
