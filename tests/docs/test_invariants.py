"""docs/invariants.md and docs/failure-modes.md name tests that exist, and name them completely."""

import ast
import re
from collections.abc import Iterator
from itertools import chain

import pytest

from tests.docs.pages import page, rows
from tests.helpers.processes import ROOT
from tests.mutations import MUTATIONS, PACKAGE, Mutation
from tools import failure_modes
from tools.failure_modes import Fault

INVARIANTS = page("invariants.md")
FAILURE_MODES = page("failure-modes.md")
ARCHITECTURE = page("architecture.md")

LEGEND = re.findall(r"^\| ([A-Z]+\d+) \| `(\S+)` \|$", INVARIANTS, re.MULTILINE)
CODES = dict(LEGEND)
CODE = re.compile(r"\b[A-Z]+\d+\b")
NUMBERS = [str(number) for number in range(1, 13)]


FAULTS = failure_modes.load()
SOURCE = re.sub(  # with the parts of each text put together
    r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
)
MATRIX = rows(INVARIANTS, "## Faults and invariants")
CAPABILITIES = rows(INVARIANTS, "## Invariants of capabilities")


def test_codes_are_unique() -> None:
    assert len(CODES) == len(LEGEND) == len(set(CODES.values()))


def test_every_named_test_exists() -> None:
    files = sorted({test.partition("::")[0] for test in CODES.values()})
    assert set(CODES.values()) - set(chain.from_iterable(map(names_in, files))) == set()


def names_in(file: str) -> Iterator[str]:
    """The names of a file's tests, as pytest has them."""
    for node in ast.parse((ROOT / file).read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{file}::{node.name}" if isinstance(node, ast.ClassDef) else file
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}::{member.name}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_failure_mode_is_shown(fault: Fault) -> None:
    assert all(getattr(fault, field) for field in failure_modes.FIELDS)
    assert set(fault.tests.split()) <= CODES.keys()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_message_of_a_failure_mode_is_the_codes(fault: Fault) -> None:
    quoted = re.findall(r'"([^"]+)"', fault.callers + fault.fleet + fault.signals)
    parts = [part.strip() for quote in quoted for part in quote.split("…")]
    assert [part for part in parts if part not in SOURCE] == []


def test_each_failure_mode_is_on_the_page_once() -> None:
    headings = re.findall(r"^### (.*)$", FAILURE_MODES, re.MULTILINE)
    assert headings == [fault.name for fault in FAULTS]
    assert len(headings) == len(set(headings))


def test_each_invariant_is_shown_in_some_fault() -> None:
    assert f"| fault | {' | '.join(NUMBERS)} |" in INVARIANTS
    assert {len(row) for row in MATRIX} == {1 + len(NUMBERS)}
    for column in list(zip(*MATRIX, strict=True))[1:]:
        assert any(column)
    assert {code for row in MATRIX for cell in row[1:] for code in cell.split()} <= CODES.keys()


def test_each_invariant_of_a_capability_has_tests() -> None:
    names = [name for name, *_ in CAPABILITIES]
    assert len(names) == len(set(names))
    for _, stated, tests in CAPABILITIES:
        assert stated
        assert set(tests.split()) <= CODES.keys()
        assert tests


def test_both_pages_list_the_same_invariants() -> None:
    [stated] = re.findall(r"## What must always hold\n(.*)", ARCHITECTURE, re.DOTALL)
    assert re.findall(r"^(\d+)\. ", stated, re.MULTILINE) == NUMBERS
    before = INVARIANTS.partition("| fault ")[0]
    assert re.findall(r"^(\d+)\. ", before, re.MULTILINE) == NUMBERS


def test_every_code_is_used() -> None:
    tables = [*MATRIX, *CAPABILITIES, *rows(INVARIANTS, "## Mutations")]
    used = " ".join(" ".join(row[1:]) for row in tables)
    used += " ".join(fault.tests for fault in FAULTS)
    assert CODES.keys() - set(CODE.findall(used)) == set()


def test_mutations_are_all_there() -> None:
    by_test = {test: code for code, test in LEGEND}
    told = [
        [str(mutation.invariant), mutation.what, by_test[without_parameters(mutation)]]
        for mutation in MUTATIONS
    ]
    assert rows(INVARIANTS, "## Mutations") == told
    known = {*NUMBERS, *(name for name, *_ in CAPABILITIES)}
    assert set(NUMBERS) <= {str(mutation.invariant) for mutation in MUTATIONS} <= known


def without_parameters(mutation: Mutation) -> str:
    return mutation.test.partition("[")[0]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_mutation_can_still_be_made(mutation: Mutation) -> None:
    assert (PACKAGE / mutation.file).read_text("utf-8").count(mutation.old) == 1
