"""The `lockgate` command. A new command: a function in a file beside this one, and its line in COMMANDS below."""

from __future__ import annotations

import sys
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

# name → (where it is, what the help page says). Where it is: a function, or a typer.Typer for a command with commands
# of its own. The file is imported when its command is called, so it may import whatever it needs at its top.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("lockgate.cli.stack:up", "Start the stack, and keep it running until interrupted."),
    "down": ("lockgate.cli.stack:down", "Stop the stack; data stays."),
    "status": ("lockgate.cli.stack:status", "Show what runs, and how well."),
    "restart": ("lockgate.cli.stack:restart", "Stop and start one service."),
    "logs": ("lockgate.cli.logs:logs", "Show the log of one service."),
    "doctor": ("lockgate.cli.doctor:doctor", "Say what is missing or wrong on this machine, and the mend."),
    "prepare": ("lockgate.cli.tick:prepare", "Make topics and tables that the first tick needs."),
    "tick": ("lockgate.cli.tick:tick", "One minute's work now, or the hour's: land, gate, build, publish."),
    "tail": ("lockgate.cli.tail:tail", "Show what arrives at once and land it a second later, until interrupted."),
    "backfill": ("lockgate.cli.backfill:backfill", "Build event hours of marts anew, by hand."),
    "seal": ("lockgate.cli.seal:seal", "Say that a stream is complete up to a time."),
    "land": ("lockgate.cli.land:land", "Landing by hand, partitions that have stopped, landing anew."),
    "proof": ("lockgate.cli.proof:proof", "Whether everything that arrived is there, hour by hour."),
    "quarantine": ("lockgate.cli.quarantine:quarantine", "What did not fit its contract."),
    "contract": ("lockgate.cli.contract:contract", "What a change of contract does, and filling history."),
    "gates": ("lockgate.cli.gates:gates", "What landed and has not passed its gate."),
    "recon": ("lockgate.cli.recon:app", "Old tables against new marts: measure, judge, report."),
    "replay": ("lockgate.cli.replay:replay", "Send recorded events into their stream's topic."),
}


class LazyCommands(TyperGroup):
    """Knows names and help of COMMANDS at once, and imports a command when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        self._find_brought()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            self._find_brought()
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest

    def _find_brought(self) -> None:
        """Looked for only where it matters: it takes 70 ms."""
        for name, entry in brought().items():
            self.commands.setdefault(name, TyperCommand(name, help=(entry.load().__doc__ or "").partition("\n")[0]))


def brought() -> dict[str, Any]:
    """Commands that other packages bring (`lockgate demo`): functions in the entry point group `lockgate.commands`.

    A command of COMMANDS is never replaced by one of them.
    """
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group="lockgate.commands") if entry.name not in COMMANDS}


def load(name: str) -> Any:
    """The command of that name. KeyError if there is none."""
    if name in COMMANDS:
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(import_module(module), attribute)
    else:
        found = brought()[name].load()
    if isinstance(found, typer.Typer):
        command: Any = get_group(found)  # a group even where it has one command so far
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, context_settings=getattr(found, "context_settings", None))(found)
        command = get_command(alone)
    command.name = name
    return command


app = typer.Typer(
    name="lockgate",
    cls=LazyCommands,
    help="Kafka to ClickHouse every minute, gated and reconciled.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich for the help page would double the time it takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lockgate {version('lockgate')}")
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Say the version, and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", envvar="LOCKGATE_DEBUG", help="Show tracebacks of errors.")] = False,
) -> None:
    """Kafka to ClickHouse every minute, gated and reconciled."""
    if not debug:
        sys.excepthook = say_in_one_line


def say_in_one_line(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """An error that reached the top: what it says is for a person. Python then exits with 1."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    # What our packages raise is written for people; anything else is a bug or a thing nobody thought of.
    ours = kind.__module__.startswith(("lockgate.", "orchestration.", "expectations.", "spark_jobs.", "demo."))
    text = str(error) if ours else f"{kind.__name__}: {error}\nThis was not foreseen: `lockgate --debug …` shows where."
    print(f"error: {text}", file=sys.stderr)
