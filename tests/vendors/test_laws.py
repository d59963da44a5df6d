"""The laws that every dialect is held to. None of them knows a vendor: a new file in ``vendors`` gets them all."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vendors import strategies
from trackgate import vendors
from trackgate.exemplar import exemplar
from trackgate.fidelity import CARRIED, Note, facts, surviving
from trackgate.model import Call, Delivered, Event, Problem, ProblemKind, Receipt, Reply, Retry, Unsupported
from trackgate.vendor import MAX_RETRY_AFTER, Decoded, Encoded, Endpoint, Target, Vendor

VENDORS = vendors.load()
NAMES = sorted(VENDORS)
KINDS = [(name, kind) for name in NAMES for kind in sorted({endpoint.kind for endpoint in VENDORS[name].endpoints})]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://vendor.test"
MARK = "a mark"
OURS = {ProblemKind.TIMEOUT, ProblemKind.TOO_MANY, ProblemKind.UNAVAILABLE}
"""The faults that pass by themselves, so that a caller should try again."""

every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=NAMES)
every_exemplar = pytest.mark.parametrize(("source", "kind"), KINDS, ids=["-".join(pair) for pair in KINDS])
# The same examples on every run: a red check speaks of the change, not of the day.
laws = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def target_of(vendor: Vendor, options: Any = None) -> Target:
    return Target(url=URL, key="KEY", options=options or vendor.options())


def endpoint_of(vendor: Vendor, call: Call) -> Endpoint:
    assert call.url.startswith(URL)
    return next(endpoint for endpoint in vendor.endpoints if endpoint.path == call.url.removeprefix(URL))


def read(vendor: Vendor, call: Call, endpoint: Endpoint | None = None) -> tuple[Decoded, ...]:
    numbers = count()
    return vendor.decode(call, endpoint or endpoint_of(vendor, call), Receipt("web", AT, lambda: f"id-{next(numbers)}"))


def read_or_problem(vendor: Vendor, call: Call, endpoint: Endpoint) -> tuple[Decoded, ...] | Problem:
    try:
        return read(vendor, call, endpoint)
    except Problem as problem:
        return problem


def typed(values: dict[str, Any]) -> dict[str, bytes]:
    """Values as their JSON, so that ``1``, ``1.0`` and ``true`` differ, and so do two offsets of one instant."""
    return {field: msgspec.json.encode(value) for field, value in values.items()}


def assert_faithful(vendor: Vendor, said: Event, encoded: Encoded, key: str = "KEY") -> None:
    """What a reader of the calls finds is exactly what the notes promise."""
    (got,) = read(vendor, encoded.calls[-1])
    assert typed(facts(got.event)) == typed(surviving(said, encoded.notes))
    assert got.notes == ()
    for call in encoded.calls:
        assert vendor.inspect(call, endpoint_of(vendor, call)) == ()
        assert key in vendor.credentials(call.headers)
    for call in encoded.calls[:-1]:
        (profile,) = read(vendor, call)
        assert (profile.event.kind, profile.event.user_id) == ("identify", got.event.user_id)


def encoded_or_none(vendor: Vendor, said: Event, target: Target) -> Encoded | None:
    """The calls, or ``None`` where the dialect says, with a stable code, that it cannot say the event."""
    try:
        return vendor.encode(said, target)
    except Unsupported as caught:
        unsupported = caught
    assert re.fullmatch("[a-z_]+", unsupported.reason)
    assert unsupported.detail
    return None


# --- decode and encode ----------------------------------------------------------------------------------------


@every_vendor
@every_exemplar
def test_the_fullest_event_of_each_dialect_arrives_as_the_notes_say(vendor: Vendor, source: str, kind: Any):
    said = exemplar(VENDORS[source], kind)
    encoded = encoded_or_none(vendor, said, target_of(vendor))
    assert encoded is not None or kind == "identify", "every dialect says a track call that names its user"
    if encoded is not None:
        assert_faithful(vendor, said, encoded)


@every_vendor
@laws
@given(data=st.data())
def test_any_event_arrives_as_the_notes_say_or_not_at_all(vendor: Vendor, data: st.DataObject):
    said = data.draw(strategies.events(NAMES))
    target = target_of(vendor, data.draw(strategies.options(vendor)))
    encoded = encoded_or_none(vendor, said, target)
    if encoded is None:
        return
    assert_faithful(vendor, said, encoded)
    assert [call.step for call in encoded.calls] in (["track"], ["identify"], ["identify", "track"])


@every_vendor
@laws
@given(data=st.data())
def test_what_a_dialect_said_goes_back_to_it_unchanged(vendor: Vendor, data: st.DataObject):
    """A same-vendor round trip loses nothing, whatever the event had to become on its way there."""
    first = encoded_or_none(vendor, data.draw(strategies.events(NAMES)), target_of(vendor))
    if first is None:
        return
    (got,) = read(vendor, first.calls[-1])
    again = vendor.encode(got.event, target_of(vendor))
    assert msgspec.json.decode(again.calls[-1].body) == msgspec.json.decode(first.calls[-1].body)
    assert {note.kind for note in again.notes} <= {"degraded"}


@every_exemplar
def test_a_dialect_says_its_own_fullest_event_without_a_note(source: str, kind: Any):
    vendor = VENDORS[source]
    assert vendor.encode(exemplar(vendor, kind), target_of(vendor)).notes == ()


@every_vendor
def test_what_is_declared_native_is_what_the_dialect_says_untouched(vendor: Vendor):
    stated = facts(exemplar(vendor))
    assert {pattern for pattern in CARRIED if any(_fits(field, pattern) for field in stated)} == vendor.native


@every_vendor
@pytest.mark.parametrize("value", [None, {"inner": 1}], ids=["null", "an object"])
def test_a_property_is_left_as_it_is_exactly_where_the_documents_allow_its_value(vendor: Vendor, value: Any):
    """The strict check says what they allow; the codec must neither flatten more than it has to, nor less."""
    said = msgspec.structs.replace(exemplar(vendor), properties={"it": value})
    notes = vendor.encode(said, target_of(vendor)).notes
    assert (notes == ()) == _allows(vendor, msgspec.structs.replace(said, properties={"it": MARK}), value)


@every_vendor
def test_an_event_of_nobody_is_said_exactly_where_the_documents_allow_it(vendor: Vendor):
    said = exemplar(vendor)
    encoded = encoded_or_none(vendor, msgspec.structs.replace(said, user_id=None), target_of(vendor))
    assert (encoded is not None) == _allows(vendor, msgspec.structs.replace(said, user_id=MARK), "")


def _allows(vendor: Vendor, marked: Event, value: Any) -> bool:
    """Whether the strict check takes the event's call with another value in the mark's place."""
    (call,) = vendor.encode(marked, target_of(vendor)).calls
    assert call.body.count(msgspec.json.encode(MARK)) == 1
    body = call.body.replace(msgspec.json.encode(MARK), msgspec.json.encode(value))
    return vendor.inspect(msgspec.structs.replace(call, body=body), endpoint_of(vendor, call)) == ()


@every_vendor
def test_encoding_leaves_the_event_as_it_was(vendor: Vendor):
    for source, kind in KINDS:
        said = exemplar(VENDORS[source], kind)
        before = msgspec.json.encode(said)
        encoded_or_none(vendor, said, target_of(vendor))
        assert msgspec.json.encode(said) == before


@every_vendor
def test_the_documented_sample_is_read_and_passes_the_strict_check(vendor: Vendor):
    call = vendor.sample(URL, "KEY")
    (got,) = read(vendor, call)
    assert endpoint_of(vendor, call) is vendor.endpoints[0]
    assert got.event.kind == "track"
    assert got.event.vendor == vendor.name
    assert vendor.inspect(call, vendor.endpoints[0]) == ()
    assert "KEY" in vendor.credentials(call.headers)


# --- nonsense -------------------------------------------------------------------------------------------------


@every_vendor
@laws
@given(data=st.data())
def test_nonsense_is_a_problem_and_never_a_crash(vendor: Vendor, data: st.DataObject):
    body = data.draw(st.binary(max_size=30) | strategies.VALUES.map(msgspec.json.encode))
    assert_read_or_refused(vendor, body, data)


@every_vendor
@laws
@given(data=st.data())
def test_a_damaged_body_is_a_problem_or_an_event_that_keeps_the_laws(vendor: Vendor, data: st.DataObject):
    source, kind = data.draw(st.sampled_from([pair for pair in KINDS if pair[0] == vendor.name]))
    calls = vendor.encode(
        exemplar(VENDORS[source], kind), target_of(vendor, data.draw(strategies.options(vendor)))
    ).calls
    bodies = [msgspec.json.decode(call.body) for call in (*calls, vendor.sample(URL, "KEY"))]
    mutant = data.draw(st.sampled_from(bodies).flatmap(strategies.mutants))
    assert_read_or_refused(vendor, msgspec.json.encode(mutant), data)


@every_vendor
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"event":' * 101 + b"1" + b"}" * 101,
        b'{"user_id":NaN}',
        b'{"user_id":"\\ud800"}',
        b"1" * 5_000,
        b"1e999",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_sane_json_is_invalid(vendor: Vendor, body: bytes):
    for endpoint in vendor.endpoints:
        call = Call(url=endpoint.path, headers=vendor.sample(URL, "KEY").headers, body=body)
        with pytest.raises(Problem) as caught:
            read(vendor, call, endpoint)
        assert caught.value.kind is ProblemKind.INVALID
        assert {found.kind for found in vendor.inspect(call, endpoint)} == {ProblemKind.INVALID}


def assert_read_or_refused(vendor: Vendor, body: bytes, data: st.DataObject) -> None:
    endpoint = data.draw(st.sampled_from(vendor.endpoints))
    call = Call(url=endpoint.path, headers=vendor.sample(URL, "KEY").headers, body=body)
    faults = vendor.inspect(call, endpoint)
    decoded = read_or_problem(vendor, call, endpoint)
    if isinstance(decoded, Problem):
        assert faults, "the way in refuses what the strict check passes"
        assert decoded.kind is ProblemKind.INVALID
        assert decoded.message
        assert vendor.reject(decoded).status == 400
        return
    assert decoded
    destination = VENDORS[data.draw(st.sampled_from(NAMES))]
    for got in decoded:
        assert got.event.kind == endpoint.kind
        encoded = encoded_or_none(destination, got.event, target_of(destination))
        if encoded is not None:
            assert_faithful(destination, got.event, encoded)


# --- batches --------------------------------------------------------------------------------------------------


@every_vendor
def test_a_problem_in_a_batch_names_the_place_and_an_empty_or_overlong_batch_is_invalid(vendor: Vendor):
    for endpoint in vendor.endpoints:
        if endpoint.batch is None:
            continue
        item = _item(vendor, endpoint)
        full = _batch(vendor, endpoint, [item] * endpoint.batch)
        assert len(read(vendor, full, endpoint)) == endpoint.batch
        assert vendor.inspect(full, endpoint) == ()
        with pytest.raises(Problem) as caught:
            read(vendor, _batch(vendor, endpoint, [item, item, {}]), endpoint)
        assert caught.value.index == 2
        assert "2" in caught.value.message
        for wrong in ([], [item] * (endpoint.batch + 1)):
            call = _batch(vendor, endpoint, wrong)
            with pytest.raises(Problem) as caught:
                read(vendor, call, endpoint)
            assert caught.value.status == 400
            assert vendor.inspect(call, endpoint)


def _item(vendor: Vendor, endpoint: Endpoint) -> Any:
    """The event of a call, out of whatever array the vendor puts it in."""
    call = vendor.encode(exemplar(vendor, endpoint.kind), target_of(vendor)).calls[-1]
    body = msgspec.json.decode(call.body)
    return body[0] if isinstance(body, list) else body


def _batch(vendor: Vendor, endpoint: Endpoint, items: list[Any]) -> Call:
    headers = vendor.encode(exemplar(vendor), target_of(vendor)).calls[-1].headers
    body = items if endpoint.envelope is None else {endpoint.envelope: items}
    return Call(url=endpoint.path, headers=headers, body=msgspec.json.encode(body))


# --- replies --------------------------------------------------------------------------------------------------


@every_vendor
def test_its_own_acceptance_means_delivered(vendor: Vendor):
    for endpoint in vendor.endpoints:
        ids = ("id-0", "id-1") if endpoint.batch else ("id-0",)
        reply = vendor.accept(endpoint, ids, user_id="user_123")
        assert vendor.classify(reply) == Delivered()
        assert reply.body == b"" or isinstance(msgspec.json.decode(reply.body), dict)


@every_vendor
@pytest.mark.parametrize("kind", ProblemKind)
@pytest.mark.parametrize("flaw", ["missing", "type", "value"])
def test_its_own_rejection_is_retried_only_where_the_fault_is_ours(vendor: Vendor, kind: ProblemKind, flaw: Any):
    problem = Problem(kind, "Words for the caller.", field="user_id", index=3, flaw=flaw, retry_after=7)
    reply = vendor.reject(problem)
    outcome = vendor.classify(reply)
    assert reply.status == kind.value
    assert "Words for the caller." in reply.body.decode()
    assert outcome != Delivered()
    assert isinstance(outcome, Retry) == (kind in OURS)
    assert not isinstance(outcome, Retry) or outcome.after == 7.0


@every_vendor
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (format_datetime(AT + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(AT - timedelta(seconds=90), usegmt=True), 0.0),
        ("9" * 40, MAX_RETRY_AFTER),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0661", None),
        ("Fri, 99 Jan 2026 03:04:05 GMT", None),
    ],
)
def test_retry_after_is_heard_in_both_forms_and_garbage_is_not(vendor: Vendor, status: int, said: str, seconds: Any):
    outcome = vendor.classify(Reply(status=status, headers={"retry-after": said}, at=AT))
    assert isinstance(outcome, Retry)
    assert outcome.after == seconds


@every_vendor
@laws
@given(status=st.integers(100, 599), body=st.binary(max_size=20) | strategies.VALUES.map(msgspec.json.encode))
def test_any_reply_has_a_meaning_and_garbage_in_a_2xx_is_delivered(vendor: Vendor, status: int, body: bytes):
    outcome = vendor.classify(Reply(status=status, body=body, at=AT))
    if 200 <= status < 300 and b"success" not in body:
        assert outcome == Delivered()
    if status >= 300:
        assert outcome != Delivered()


# --- data -----------------------------------------------------------------------------------------------------


@every_vendor
@laws
@given(
    headers=st.dictionaries(
        st.sampled_from(["authorization", "auth-type", "key", "x-api-key", "token"]),
        st.text(st.characters(codec="latin-1"), max_size=12) | st.sampled_from(["Token", "Bearer ", "Token  K", "K"]),
    )
)
def test_any_headers_present_some_keys_or_none_and_never_an_empty_one(vendor: Vendor, headers: dict[str, str]):
    assert "" not in vendor.credentials(headers)


@every_vendor
def test_a_call_without_the_documented_credential_fails_the_strict_check(vendor: Vendor):
    assert vendor.credentials({}) == ()
    call = msgspec.structs.replace(vendor.sample(URL, "KEY"), headers={"content-type": "application/json"})
    assert [found.kind for found in vendor.inspect(call, vendor.endpoints[0])] == [ProblemKind.UNAUTHORIZED]


@every_vendor
def test_its_facts_are_in_order(vendor: Vendor):
    assert re.fullmatch("[a-z][a-z0-9]*", vendor.name)
    assert vendor.title
    assert vendor.credential
    assert vendor.endpoints[0].kind == "track"
    paths = [endpoint.path for endpoint in vendor.endpoints]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("/") and not path.endswith("/") for path in paths)
    assert re.fullmatch(r"https://[a-z.-]+", vendor.base_url(vendor.options()))
    assert vendor.native <= set(CARRIED)


@every_vendor
def test_every_option_is_documented_and_has_a_default(vendor: Vendor):
    if vendor.options.__struct_fields__ == ():
        return
    body = ast.parse(textwrap.dedent(inspect.getsource(vendor.options))).body[0]
    assert isinstance(body, ast.ClassDef)
    follows = dict(zip(body.body, [*body.body[1:], None], strict=True))
    for statement, after in follows.items():
        if isinstance(statement, ast.AnnAssign):
            assert statement.value is not None
            assert isinstance(after, ast.Expr), f"{ast.unparse(statement.target)} has no docstring"
    assert vendor.options() == vendor.options()


@every_vendor
def test_notes_name_fields_and_codes_only(vendor: Vendor):
    """Codes go to logs and metrics: what a caller said never gets into one."""
    for source, kind in KINDS:
        encoded = encoded_or_none(vendor, exemplar(VENDORS[source], kind), target_of(vendor))
        for note in encoded.notes if encoded is not None else ():
            assert isinstance(note, Note)
            assert re.fullmatch(r"[a-z_.]+\.(carried|changed|made-up|dropped|degraded)", note.code)


def _fits(field: str, pattern: str) -> bool:
    return field.startswith(pattern[:-1]) if pattern.endswith("*") else field == pattern
