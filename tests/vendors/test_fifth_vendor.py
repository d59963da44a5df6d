"""A fifth vendor is one new file: it gets every law without a line of test code, and the laws catch its mistakes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

TOY = '''
"""Toy: ``POST /toy``, as small as a vendor can be."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trackgate.fidelity import carry, leave, own_extras
from trackgate.model import Call, Event, Reply
from trackgate.payload import body_of, json_body, json_reply, read_fields, required
from trackgate.strict import FILLED, OBJECT, TEXT, content, field_faults, unauthorized
from trackgate.vendor import Decoded, Encoded, Endpoint, Vendor, user_id_of


class Wire(Struct):
    who: str
    what: str | None = None
    more: dict[str, Any] | None = None


class Toy(Vendor):
    name = "toy"
    title = "Toy"
    endpoints = (Endpoint(path="/toy"), Endpoint(path="/toy/user", kind="identify"))
    credential = "Toy-Key: KEY"

    def credentials(self, headers):
        return (headers["toy-key"],) if headers.get("toy-key") else ()

    def decode(self, call, endpoint, receipt):
        wire, extras = read_fields(Wire, body_of(call))
        return (Decoded(Event(
            id=receipt.mint(), vendor="toy", source=receipt.source, received_at=receipt.at, kind=endpoint.kind,
            name=required(wire.what or "", "what") if endpoint.kind == "track" else "",
            user_id=required(wire.who, "who"), properties=wire.more or {}, extras=extras,
        )),)

    def accept(self, endpoint, ids, *, user_id=None):
        return Reply(status=204)

    def reject(self, problem):
        return json_reply(problem.status, {"oops": problem.message}, problem)

    def base_url(self, options):
        return "https://toy.example"

    def encode(self, event, target):
        notes = []
        user_id = user_id_of(event, "dead", notes)
        if event.kind == "identify":
            leave(event, (), notes)
            fields = {"who": user_id, "more": event.properties}
        else:
            fields = {"who": user_id, "what": event.name, "more": carry(event, self.native, notes)}
        body = json_body({**own_extras(event, "toy", notes), **fields})
        path = next(found.path for found in self.endpoints if found.kind == event.kind)
        call = Call(url=target.url + path, headers={"toy-key": target.key}, body=body, step=event.kind)
        return Encoded((call,), tuple(notes))

    def inspect(self, call, endpoint):
        if not call.headers.get("toy-key"):
            return (unauthorized("Toy-Key is missing."),)
        what = FILLED.needed() if endpoint.kind == "track" else TEXT
        rules = {"who": FILLED.needed(), "what": what, "more": OBJECT}
        return tuple(field_faults(content(call), rules))

    def sample(self, url, key):
        return Call(url=url + "/toy", headers={"toy-key": key}, body=b\'{"who": "u", "what": "e"}\')


VENDOR = Toy()
'''

BREAKS = {
    "loses_a_property": ('"more": carry(event, self.native, notes)}', '"more": {}}'),
    "crashes_on_nonsense": ("read_fields(Wire, body_of(call))", "(Wire(**body_of(call)), {})"),
    "checks_nothing": ("return tuple(field_faults(content(call), rules))", "return ()"),
}

UNSHRUNK = """
from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=[Phase.generate])
settings.load_profile("unshrunk")
"""
"""A failing law need not look for its smallest example here."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program and the laws, without the vendors' own tests and without a configuration."""
    root = tmp_path_factory.mktemp("fifth")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "trackgate", root / "src" / "trackgate", ignore=ignored)
    (root / "tests" / "vendors").mkdir(parents=True)
    for name in ("strategies.py", "test_laws.py"):
        shutil.copy(HERE / name, root / "tests" / "vendors" / name)
    (root / "tests" / "conftest.py").write_text(UNSHRUNK)
    return root


def run_laws(project: Path, vendor: str, *options: str) -> tuple[int, int, str]:
    """How many laws a toy vendor's file passes and fails, and what pytest said."""
    (project / "src" / "trackgate" / "vendors" / "toy.py").write_text(vendor)
    paths = os.pathsep.join([str(project / "src"), str(project)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "toy", "-p", "no:cacheprovider", "--tb=short", *options, "tests"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    return counts.get("passed", 0), counts.get("failed", 0), done.stdout + done.stderr


def test_a_new_file_gets_the_laws_and_keeps_them(project: Path):
    passed, failed, said = run_laws(project, TOY)
    assert failed == 0, said
    assert passed > 50, said


@pytest.mark.parametrize("broken", BREAKS)
def test_the_laws_catch_a_vendor_that(project: Path, broken: str):
    right, wrong = BREAKS[broken]
    assert right in TOY
    _, failed, said = run_laws(project, TOY.replace(right, wrong), "--exitfirst")
    assert failed == 1, said
