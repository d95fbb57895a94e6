"""`python -m tests.faults.harness`: kill after kill, for as long as it takes."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time

from tests.faults.harness.episode import Episode, EpisodeFailed, Outcome
from tests.faults.harness.lanes import Tally
from tests.faults.harness.stand import stand
from tests.faults.harness.workers import SABOTAGES, context

_KILLS_AN_EPISODE = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="workers to kill, in all episodes together")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="default: another one each time")
    parser.add_argument("--episode", type=int, help="only this one of the seed's episodes")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="a mistake to find")
    parser.add_argument("--quiet", action="store_true", help="no line for each round")
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    logging.getLogger().addHandler(logging.NullHandler())  # servers that go away are what this is about
    for number in (signal.SIGINT, signal.SIGTERM):  # also where whoever started it in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    began, total = time.monotonic(), Outcome(Tally())
    with stand() as servers:
        forks, episode = context(), options.episode or 1
        while total.tally.kills < options.kills:
            kills = min(_KILLS_AN_EPISODE, options.kills - total.tally.kills)
            tell = _nothing if options.quiet else _say
            try:
                one = Episode(servers, forks, f"episode_{episode}", f"{options.seed}/{episode}", options.sabotage, tell)
                add(total, one.run(kills))
            except EpisodeFailed as failed:
                print(f"FAILED: {failed}")
                return 1
            except KeyboardInterrupt:
                print("interrupted; of the episodes that had ended:")
                break
            _say(f"episode {episode}: {total.tally.kills} kills in all, {time.monotonic() - began:.0f} s")
            episode += 1
    print(summary(total, time.monotonic() - began))
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _nothing(_text: str) -> None:
    return


def add(total: Outcome, done: Outcome) -> None:
    """Add an episode's numbers to those of others."""
    for of, one in ((total, done), (total.tally, done.tally)):
        for name, value in vars(one).items():
            if not isinstance(value, Tally):
                setattr(of, name, getattr(of, name) + value)


def summary(total: Outcome, seconds: float) -> str:
    """What was done, by kind of fault."""
    tally = total.tally
    lines = [
        f"{tally.kills} kills in {seconds:.0f} s; {total.messages:,} messages; readers looked {total.looks:,} times."
        " Lost 0, doubled 0, all proven.",
        f"{tally.undisturbed} workers were left alone",
    ]
    for title, counts in (("struck", tally.struck), ("troubles", total.troubles), ("not come to", tally.missed)):
        lines.append(f"{title}: {counts.total()}")
        lines += [f"  {count:5} {name}" for name, count in sorted(counts.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
