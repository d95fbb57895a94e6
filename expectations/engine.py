"""Great Expectations over SQL in the warehouse: the only module that imports it.

Belongs here: the data context, the expectation that a `Rule` becomes, and validating. Does not: what a rule says, the rows
behind a failed one, and what counts as failed (`runner`, `outcome`).

Measured on 2 cores: the import costs 13 CPU s where pyspark is installed too; a warm suite of ten rules over 5,000 rows is
one query, 0.05 s and 0.03 CPU s. That is why every rule is an aggregate: Great Expectations bundles those of one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import great_expectations as gx
import sqlalchemy
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_partial
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from sqlalchemy.exc import SQLAlchemyError

from expectations.rules import Rule
from lockgate.settings import Endpoint

_METRIC = "table.lockgate_observed"
_SEVERITY = {"block": "critical", "warn": "warning"}

# What a suite may die of. Everything else is a fault in this package, and the runner counts it as failed all the same.
ENGINE_ERRORS = (GreatExpectationsError, SQLAlchemyError, OSError)


class _Observed(TableMetricProvider):  # type: ignore[misc]
    """One aggregate of the whole table. Great Expectations asks for all of a table's aggregates in one SELECT."""

    metric_name = _METRIC
    value_keys = ("observed",)

    @metric_partial(  # type: ignore[untyped-decorator]
        engine=SqlAlchemyExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _sqlalchemy(
        cls,  # noqa: N805 - Great Expectations calls it on the class
        execution_engine: Any,  # noqa: ARG002
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        return sqlalchemy.literal_column(metric_value_kwargs["observed"]), metric_domain_kwargs, {}


class ExpectObservedAtMost(BatchExpectation):  # type: ignore[misc]
    """Expect an integer aggregate of the table to be at most a bound."""

    observed: str
    at_most: int = 0

    metric_dependencies = (_METRIC,)
    success_keys = ("observed", "at_most")
    args_keys = ("observed", "at_most")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        value = metrics.get(_METRIC)
        # an aggregate that is not a whole number judges nothing: NULL, a float that lost digits, text
        judged = isinstance(value, int) and not isinstance(value, bool)
        return {"success": value is not None and judged and value <= self.at_most, "result": {"observed_value": value}}


class Engine:
    """One data context and one data source; tables are added when first asked for. Not safe to share between threads."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        self._context = gx.get_context(mode="ephemeral")
        self._context.enable_analytics(False)
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_sql(
            "warehouse",
            connection_string=_sqlalchemy_url(endpoint),
            kwargs={"connect_args": _connect_args(timeout_seconds)},
        )
        self._batches: dict[str, Any] = {}

    def validate(self, suite: str, table: str, rules: Sequence[Rule]) -> list[dict[str, Any]]:
        """Great Expectations' result of each rule, as JSON; `meta.rule` names it. Raises one of ENGINE_ERRORS."""
        expectations = [
            ExpectObservedAtMost(
                observed=rule.observed,
                at_most=rule.at_most,
                severity=_SEVERITY[rule.severity],
                meta={"rule": rule.name},
            )
            for rule in rules
        ]
        batch = self._batch_definition(table).get_batch()
        result = batch.validate(gx.ExpectationSuite(name=suite, expectations=expectations), result_format="SUMMARY")
        return [dict(one.to_json_dict()) for one in result.results]

    def _batch_definition(self, table: str) -> Any:
        if table not in self._batches:
            database, _, name = table.partition(".")
            asset = self._source.add_table_asset(table, table_name=name, schema_name=database)
            self._batches[table] = asset.add_batch_definition_whole_table("all rows")
        return self._batches[table]


def _sqlalchemy_url(endpoint: Endpoint) -> str:
    user, password = quote(endpoint.user, safe=""), quote(endpoint.password, safe="")
    protocol = "?protocol=https" if endpoint.secure else ""
    return f"clickhouse+http://{user}:{password}@{endpoint.host}:{endpoint.port}/default{protocol}"


def _connect_args(timeout_seconds: float) -> dict[str, Any]:
    """Both ends give up: the server after `timeout_seconds` of a query, the client a little later."""
    settings = {"max_execution_time": max(1, round(timeout_seconds)), "session_timezone": "UTC"}
    return {"timeout": timeout_seconds + 2, "ch_settings": settings}
