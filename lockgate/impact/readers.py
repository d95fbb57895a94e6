"""Who reads which columns of staging, and whether it works: dbt's models, the gates' suites, Spark's jobs.

`survey` sets up the tables of some contracts in an empty engine, makes the project's views over them and asks about every
statement. Twice, by the contracts of before and after, it says what a change touches and what it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from lockgate.contracts import Contract
from lockgate.impact.dbt_files import Model, Project
from lockgate.impact.engine import Answer, Statement, examine
from lockgate.landing.tables import QUARANTINE_TYPES, staging_types
from lockgate.names import INTERMEDIATE, MARTS, STAGING, staging

_WORD = re.compile(r"\w+")
_IMPORT = re.compile(r"^from (spark_jobs[\w.]*) import (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sql:
    """Statements that somebody sends, under a name for people."""

    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """`reads`: (stream, column). `fault`: why it does not work, else empty; then `reads` is all that it could reach.

    `types`: of the columns whose types it was written for without saying so.
    """

    reads: frozenset[tuple[str, str]]
    fault: str = ""
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """What is looked at: a dbt project, the suites' statements over the tables of given streams, the package of Spark's jobs."""

    project: Project
    suites: Callable[[Iterable[str]], Sequence[Sql]]
    jobs: Path


def survey(contracts: Mapping[str, Contract], sources: Sources) -> dict[str, Reader]:
    """Every reader by its name for people. Raises EngineFailedError."""
    return _Survey(contracts, sources).readers()


class _Survey:
    def __init__(self, contracts: Mapping[str, Contract], sources: Sources) -> None:
        self._columns = {stream: staging_types(contract) for stream, contract in contracts.items()}
        self._project = sources.project
        self._suites = sources.suites(contracts)
        self._jobs = sources.jobs
        self._statements: list[Statement] = []
        self._answers: list[Answer] = []

    def readers(self) -> dict[str, Reader]:
        self._make_tables()
        asked_models = {model.name: self._ask_model(model) for model in self._in_order()}
        asked_suites = {suite.name: [self._ask(sql) for sql in suite.statements] for suite in self._suites}
        asked_columns = self._ask_columns_of_views()
        self._answers = examine(self._statements)
        found = {
            f"model {self._project.models[n].relation}": self._model(n, asked) for n, asked in asked_models.items()
        }
        found |= {suite.name: self._suite(suite, asked_suites[suite.name]) for suite in self._suites}
        for mart in self._project.marts.values():
            if mart.engine == "spark":
                found[f"Spark job {mart.name}"] = self._job(mart.name, mart.stream, asked_columns)
        return found

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _run(self, sql: str) -> None:
        self._statements.append(Statement(sql))

    def _ask(self, sql: str) -> int:
        self._statements.append(Statement(sql, asks=True))
        return len(self._statements) - 1

    def _make_tables(self) -> None:
        for database in (STAGING, INTERMEDIATE, MARTS):
            self._run(f"CREATE DATABASE {database}")
        tables = {staging(stream): columns for stream, columns in self._columns.items()}
        tables[f"{STAGING}.quarantine"] = QUARANTINE_TYPES
        tables |= {f"{MARTS}.{mart.name}": dict(mart.columns) for mart in self._project.marts.values()}
        for table, columns in tables.items():
            listed = ", ".join(f"`{name}` {kind}" for name, kind in columns.items())
            # Where nothing but the number of rows is asked for, the engine reads the smallest column: let that be none of theirs.
            listed += ", _counted UInt8 MATERIALIZED 0"
            self._run(f"CREATE TABLE {table} ({listed}) ENGINE = MergeTree ORDER BY tuple()")

    def _in_order(self) -> list[Model]:
        models = self._project.models
        reads = {n: {r for kind, r in m.reads if kind == "ref" and r in models and r != n} for n, m in models.items()}
        return [models[name] for name in TopologicalSorter(reads).static_order()]

    def _ask_model(self, model: Model) -> list[int]:
        asked = [self._ask(sql) for sql in model.sql]
        if model.sql and model.name not in self._project.marts:
            self._run(f"CREATE VIEW {model.relation} AS {model.sql[0]}")
        return asked

    def _views(self) -> list[Model]:
        return [model for model in self._project.models.values() if model.name not in self._project.marts]

    def _ask_columns_of_views(self) -> dict[tuple[str, str], int]:
        """(view, word that may be a column of it) → question, for what Spark's jobs speak of."""
        words = _words(path.read_text() for path in self._jobs.rglob("*.py"))
        asked: dict[tuple[str, str], int] = {}
        for view in self._views():
            if view.name in words:
                # The name of a column stands in the SQL of its view, or of what that reads, or in a contract.
                names = words & _words(sql for model in self._views() for sql in model.sql)
                names |= words & {column for stream in self._streams_of(view.name) for column in self._columns[stream]}
                asked |= {(view.name, n): self._ask(f"SELECT v.`{n}` FROM {view.relation} AS v") for n in sorted(names)}
        return asked

    # --- what was answered --------------------------------------------------------------------------------------------

    def _model(self, name: str, asked: list[int]) -> Reader:
        model = self._project.models[name]
        answers = [self._answers[number] for number in asked]
        fault = model.fault or next((a.error for a in answers if a.error), "")
        if fault:
            return Reader(self._all_of(self._streams_of(name)), _short(fault))
        differs = next((d for answer in answers if (d := _differs(dict(answer.types), model.columns))), "")
        return Reader(self._read(answers), differs)

    def _suite(self, suite: Sql, asked: list[int]) -> Reader:
        answers = [self._answers[number] for number in asked]
        fault = next((a.error for a in answers if a.error), "")
        if not fault:
            return Reader(self._read(answers))
        text = " ".join(suite.statements)
        streams = [stream for stream in self._columns if re.search(rf"\b{STAGING}\.{stream}\b", text)]
        named = _words([text])
        return Reader(frozenset((s, c) for s, c in self._all_of(streams) if c in named), _short(fault))

    def _job(self, name: str, stream: str, asked: Mapping[tuple[str, str], int]) -> Reader:
        """A job is Python: it reads every column of the stream's views whose name is a word of it or of what it imports."""
        words = _words(path.read_text() for path in _imports(self._jobs / "jobs" / f"{name}.py", self._jobs.parent))
        views = [view.name for view in self._views() if stream in self._streams_of(view.name)]
        answers = {c: self._answers[n] for (view, c), n in asked.items() if view in views and c in words}
        good = {column: answer for column, answer in answers.items() if not answer.error}
        return Reader(self._read(good.values()), "", {column: a.types[0][1] for column, a in good.items()})

    def _read(self, answers: Iterable[Answer]) -> frozenset[tuple[str, str]]:
        found = (full.replace("`", "").split(".") for answer in answers for full in answer.reads)
        return frozenset((of[1], of[2]) for of in found if of[0] == STAGING and of[2] in self._columns.get(of[1], ()))

    def _streams_of(self, name: str) -> set[str]:
        """The streams that a model reads, itself or by way of others that are views."""
        found: set[str] = set()
        for kind, read in self._project.models[name].reads:
            if kind == "source" and read in self._columns:
                found.add(read)
            elif kind == "ref" and read in self._project.models and read != name:
                found |= self._streams_of(read)
        return found

    def _all_of(self, streams: Iterable[str]) -> frozenset[tuple[str, str]]:
        return frozenset((stream, column) for stream in streams for column in self._columns[stream])


def _differs(made: Mapping[str, str], declared: Mapping[str, str]) -> str:
    """As dbt compares a model with its contract: by name, types to the letter. Empty where nothing differs, or is declared."""
    if not declared:
        return ""
    wrong = [f"{c} would be {made[c]}, the model declares {t}" for c, t in declared.items() if made.get(c, t) != t]
    wrong += [f"{column} is declared and not selected" for column in declared if column not in made]
    wrong += [f"{column} is selected and not declared" for column in made if column not in declared]
    return "; ".join(wrong)


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text)}


def _imports(path: Path, root: Path) -> set[Path]:
    """A file and what it imports of Spark's jobs, and these in turn."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        for module, names in _IMPORT.findall(file.read_text()):
            folder = root.joinpath(*module.split("."))
            waiting += [folder.with_suffix(".py"), *(folder / f"{name.strip()}.py" for name in names.split(","))]
    return found


def _short(fault: str) -> str:
    """The engine's message without its code and the statement that it repeats."""
    text = fault.partition("DB::Exception: ")[2] or fault
    return re.split(r"\.? In scope |: (?:In scope|While processing) |\. \(", text)[0].strip()[:300]
