"""One module a table; its name is the suite's name, and it holds one `SUITE`. How to write one: docs/gates.md."""
