"""The ledger: what Lockgate knows to have happened, in PostgreSQL, one transaction a decision.

Belongs here: the tables (as migrations) and the queries over them, grouped by who asks. Does not: anything that talks to
Kafka or the warehouse, and any rule that could be a pure function (those are in `lockgate.core`).
"""
