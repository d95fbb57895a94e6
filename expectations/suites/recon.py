"""Whether old and new stand level: over what one run measured in recon.*. Its results are the rows of the report."""

from __future__ import annotations

from expectations.parameters import RUN
from expectations.rules import Rule, Suite, no_rows

_RUN = "recon.run WHERE run_id = {run}"
_WINDOWS = "recon.window WHERE run_id = {run}"
_DIFFERENCES = "recon.difference WHERE run_id = {run}"
_SHARE_COMPARED = 90  # percent of the windows that either side has

_CAUSES = {
    "missing": "nothing is missing on the suspected side",
    "extra": "the suspected side has nothing beyond the other",
    "duplicate": "nothing is counted twice",
    "late": "no window lacks what came late",
    "shifted": "no window holds what belongs to another: no shift by a zone",
    "rounding": "no number is rounded",
    "null_or_empty": "NULL and empty agree on both sides",
    "other": "there is no difference that nobody can explain",
}


def _none_of(cause: str, says: str) -> Rule:
    """Counted from recon.run, which holds the whole numbers; recon.difference keeps a capped number of rows."""
    return Rule(
        name=f"none_{cause}",
        says=says,
        observed=f"toInt64((SELECT sum(causes['{cause}']) FROM {_RUN})) + 0 * count()",
        failing=f"SELECT pair, window_at, key, side, old, new, evidence FROM {_DIFFERENCES} AND cause = '{cause}'"
        " ORDER BY pair, window_at, key",
    )


SUITE = Suite(
    owner="team-data-platform",
    runbook="docs/runbooks/reconciliation.md",
    parameters={"run": RUN},
    rules=(
        no_rows(
            "measured_all_pairs",
            f"SELECT pairs, measured FROM (SELECT max(pairs) AS pairs, uniqExact(pair) AS measured FROM {_RUN})"
            " WHERE pairs = 0 OR pairs != measured",
            "every pair was measured to the end",
        ),
        no_rows(
            "measured_whole",
            "SELECT r.pair, r.windows_compared, w.windows, r.rows_old, w.rows_old, r.rows_new, w.rows_new"
            f" FROM (SELECT * FROM {_RUN}) AS r LEFT JOIN (SELECT pair, count() AS windows, sum(rows_old) AS rows_old,"
            f" sum(rows_new) AS rows_new, countIf(status NOT IN ('equal', 'within_tolerance')) AS differing FROM {_WINDOWS}"
            " GROUP BY pair) AS w ON r.pair = w.pair WHERE r.windows_compared != w.windows OR r.rows_old != w.rows_old"
            " OR r.rows_new != w.rows_new OR r.windows_differing != w.differing",
            "each compared window was written down, and the numbers of windows add up to those of the run",
        ),
        no_rows(
            "compared_something",
            f"SELECT pair, windows_due, windows_compared, rows_old, rows_new FROM {_RUN}"
            " AND (windows_compared = 0 OR rows_old + rows_new = 0)",
            "each pair has settled windows with rows in them: a comparison of nothing proves nothing",
        ),
        *(_none_of(cause, says) for cause, says in _CAUSES.items()),
        no_rows(
            "all_explained",
            f"SELECT pair, window_at, status, rows_old, rows_new FROM {_WINDOWS} AND status IN ('unexplained', 'not_drilled')"
            " ORDER BY pair, window_at",
            "every window that differs was drilled into, and its rows were named",
        ),
        no_rows(
            "totals_agree",
            "SELECT pair, column, old, new FROM (SELECT pair, arrayJoin(mapKeys(sums_old)) AS column,"
            f" sum(sums_old[column]) AS old, sum(sums_new[column]) AS new FROM {_WINDOWS}"
            " AND status != 'within_tolerance' GROUP BY pair, column) WHERE old != new",
            "the totals over all compared windows agree, to the last digit",
        ),
        no_rows(
            "coverage",
            f"SELECT pair, windows_compared, windows_due FROM {_RUN}"
            f" AND windows_compared * 100 < windows_due * {_SHARE_COMPARED}",
            f"at least {_SHARE_COMPARED} % of the windows that either side has were settled, and compared",
            severity="warn",
        ),
    ),
)
