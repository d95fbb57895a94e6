"""What may be published: one suite a table, run by Great Expectations in the warehouse.

Belongs here: rules as data (`rules`), the suites themselves (`suites/`), and running one so that anything unclear counts
as failed (`runner`). Does not: what follows from an outcome; that is `lockgate.publishing` and `lockgate.operations`.
Importing this package, its rules or its suites does not import Great Expectations (8 CPU seconds): only `engine` does,
and `runner` imports that when it runs.
"""
