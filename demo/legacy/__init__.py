"""The demo's stand-in for a team's old pipeline: a consumer of the same topics that fills PostgreSQL and its marts there.

Small and honest: exactly once, level with the new pipeline where it is right. `--fault` makes it wrong on purpose, so that
the reconciliation has something to find. It parses events in Python and keeps everything in one database, as such
pipelines do; nothing of it is meant for production.
"""
