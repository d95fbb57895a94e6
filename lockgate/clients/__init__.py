"""The only code that opens connections: Kafka, the warehouse, PostgreSQL, the worker.

Each client knows which failures of its server pass by themselves (`TransientError`) and which do not. Belongs here:
connecting, sending, reading, naming failures. Does not: what is asked for; that is `ledger`, `landing`, `publishing`.
"""
