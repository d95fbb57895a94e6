"""The `lockgate` command: reads arguments, calls the platform, prints. Nothing imports this package.

Belongs here: one file a group of commands; `main.py` has the table of them. Does not: what the commands do.
"""
