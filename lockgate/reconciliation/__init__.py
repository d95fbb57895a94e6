"""Old tables held against new marts: measure → decide → report (DESIGN section 8, docs/reconciliation.md).

Belongs here: which tables are held against which (`pairs`), which windows are settled (`settled`), measuring both sides in their
own engines and drilling where they differ (`measure`), what is kept of it (`tables`), showing it (`report`). Does not: why
rows differ (pure, `lockgate.core.classification`), and what is allowed: that is a suite of `expectations`, which arrives
here as a function.
"""
