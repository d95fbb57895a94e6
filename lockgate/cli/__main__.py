"""`python -m lockgate.cli`: the command without its script."""

from lockgate.cli.main import app

app()
