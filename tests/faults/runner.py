"""Rounds of random faults, drawn from a seed. Producers write during the faults; then the sink recovers and is audited.

`python -m tests.faults.runner --rounds 50 --seed 123`. The first round has the given seed, and each round has its own.
A round's seed is enough to replay it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest

from tests.faults.actions import ENGINES, FAULTS
from tests.faults.count import Count
from tests.faults.system import Engine, Servers, System, servers
from tests.support import lifeline
from tests.support.servers import scratch_folder

_LONGEST_PAUSE = 30.0  # seconds for which a process is stopped


class Step(NamedTuple):
    """A fault, and whether the sink may recover before the next fault."""

    name: str
    may_recover: bool


class Round(NamedTuple):
    """The round that a seed produces."""

    seed: int
    engine: Engine
    rate: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        names = ", ".join(f"{step.name}{'' if step.may_recover else ' (the next one at once)'}" for step in self.steps)
        return f"seed {self.seed}: {self.engine}, {self.rate} orders/s: {names}"


def draw_round(seed: int, engine: Engine | None = None, count: int = 5) -> Round:
    """Return the round of this seed, with `count` faults."""
    rng = Random(seed)
    by_draw: Engine = rng.choice(("spark", "spark", "direct"))
    rate = rng.choice((50, 200, 500, 1000))
    chosen = engine or by_draw
    names = rng.sample([name for name in FAULTS if chosen in ENGINES[name]], count)
    return Round(seed, chosen, rate, tuple(Step(name, rng.random() < 0.5) for name in names))


def play(
    servers: Servers,
    round_: Round,
    longest_pause: float,
    log: Callable[[str], None] = print,
    trigger: str = "micro-batch",
) -> Count:
    """Play the round, and prove that nothing was lost or duplicated.

    Raises AssertionError.
    """
    rng = Random(round_.seed)
    with System(servers, f"seed{round_.seed}", round_.engine, rng, longest_pause, round_.rate, trigger) as system:
        try:
            for step in round_.steps:
                log(f"  {step.name}")
                system.mark()
                try:
                    FAULTS[step.name](system)
                except pytest.skip.Exception as skipped:  # the database cannot have this fault
                    log(f"  skipped: {skipped.msg}")
                if step.may_recover:
                    system.until_it_stores()
                if rng.random() < 0.3:
                    system.send_garbage()
            return system.drain()
        except BaseException:
            log("\n".join(["The sink's last lines:", *system.sink.last_lines(60)]))
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    parser.add_argument("--engine", choices=("spark", "direct"))
    parser.add_argument("--trigger", default="micro-batch", help="of Spark (%(default)s)")
    arguments = parser.parse_args()
    lifeline.end_processes_with_this_run()
    with scratch_folder() as folder, servers(folder) as started:
        for number in range(arguments.rounds):
            round_ = draw_round(arguments.seed + number, arguments.engine)
            print(f"Round {number + 1} of {arguments.rounds}, {round_}", flush=True)
            started_at = time.monotonic()
            try:
                count = play(started, round_, _LONGEST_PAUSE, lambda line: print(line, flush=True), arguments.trigger)
            except BaseException:
                engine = f" ENGINE={arguments.engine}" if arguments.engine else ""
                engine += f" TRIGGER={arguments.trigger}"
                print(f"NOT PROVEN. To repeat it: make faults ROUNDS=1 SEED={round_.seed}{engine}", flush=True)
                raise
            parts = f"{count.stored} stored + {count.duplicates} duplicates + {count.quarantined} quarantined"
            print(f"  proven: {count.records} records = {parts}, {time.monotonic() - started_at:.0f} s", flush=True)


if __name__ == "__main__":
    main()
