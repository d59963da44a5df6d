"""What the hunt for holes in the tests does: it finds what there is to break, and sees that a break is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.mutations import Mutant, hunt, mutants, of_file, verdict_on
from tests.faults.verdicts import long_form, write_down

BROKEN_BY = '''
def settle(self):
    """é"""; books.count("destination", name, "owed")
    return await self._outbox.settle(settlements)

def judge():
    return Dead("expired", "too late")
'''


def test_there_is_something_of_each_kind_to_break():
    kinds = [mutant.kind for mutant in mutants()]
    assert {kind: kinds.count(kind) >= 5 for kind in kinds} == {"counter": True, "reason": True, "settle": True}


def test_a_mutant_is_the_program_with_one_thing_left_out_or_renamed(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("tests.faults.mutations.ROOT", tmp_path)
    path = tmp_path / "src/trackgate/made_up.py"
    path.parent.mkdir(parents=True)
    path.write_text(BROKEN_BY, "utf-8")
    texts = sorted(mutant.text(BROKEN_BY) for mutant in of_file(path))
    assert texts == sorted([
        BROKEN_BY.replace('books.count("destination", name, "owed")', "pass"),
        BROKEN_BY.replace("return await self._outbox.settle(settlements)", "return None"),
        BROKEN_BY.replace('"expired"', '"mutated"'),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("after", "missed"),
    [('"mutated"', 0), ('"expired" ', 1)],
    ids=["a break is noticed", "what changes nothing is not"],
)
def test_the_hunt_says_what_the_tests_say(monkeypatch, after: str, missed: int):
    monkeypatch.setattr("tests.faults.mutations.CLOSEST", {"": ("tests/test_retry.py",)})
    found = next(mutant for mutant in mutants() if mutant.path.name == "retry.py" and mutant.before == '"expired"')
    mutant = Mutant(kind="reason", path=found.path, line=1, start=found.start, before=found.before, after=after)
    assert len(hunt([mutant], lambda _: None)) == missed


@pytest.mark.skipif(not long_form(), reason="the long form: set TRACKGATE_FAULTS_LONG")
def test_every_mutant_is_noticed(capsys):
    chosen = mutants()

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201 - half an hour in which something should be seen

    missed = hunt(chosen, say)
    write_down(verdict_on(chosen, missed))
    assert [mutant.name for mutant in missed] == []
