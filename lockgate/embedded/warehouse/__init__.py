"""The embedded warehouse: the ClickHouse engine of `chdb` behind a server that speaks the ClickHouse HTTP protocol.

Belongs here: the wire (http, server), what a request means (protocol, statements, formats, compression), who may ask
(access), and how the engine is made to answer (engine, execution, sessions). Does not: any table, name or rule of the
platform; to everybody else this is a ClickHouse server at an address, and nothing imports it but the supervisor.
"""

from lockgate.embedded.warehouse.access import write_users_file

__all__ = ["write_users_file"]
