"""One short round of the runner. `make faults` plays any number of rounds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.faults import mutations, runner
from tests.faults.actions import ENGINES
from tests.faults.stage import FAULT_NAMES, LARGE
from tests.faults.system import Servers

_ROOT = Path(__file__).parents[2]
_SEED = 20


def test_a_round_is_proven(fault_servers: Servers) -> None:
    count = runner.play(fault_servers, runner.draw_round(_SEED, "direct", count=4), longest_pause=3)
    assert count.stored and count.duplicates and count.quarantined


def test_a_seed_draws_the_same_round_again() -> None:
    assert runner.draw_round(_SEED) == runner.draw_round(_SEED)
    assert len({runner.draw_round(seed).steps for seed in range(100)}) == 100


def test_the_page_lists_every_fault_and_where_it_runs() -> None:
    page = (_ROOT / "docs/faults.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\w, ]+) \| ([\w, ]+) \|$", page, re.MULTILINE)
    assert {name: rounds for name, _, rounds in rows} == {name: ", ".join(sorted(ENGINES[name])) for name in ENGINES}
    tested = {engine: {name for name, engines, _ in rows if engine in engines.split(", ")} for engine in FAULT_NAMES}
    assert tested == {"direct": {*FAULT_NAMES["direct"], LARGE}, "spark": {*FAULT_NAMES["spark"]}}


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_still_applies(mutation: mutations.Mutation) -> None:
    changed = mutations.mutated((_ROOT / mutation.path).read_text("utf-8"), mutation)
    if mutation.path.endswith(".py"):
        ast.parse(changed)
