"""docs/glossary.md: one sentence for each term, and no term twice."""

import re

from tests.helpers.processes import ROOT

PAGE = (ROOT / "docs/glossary.md").read_text()
TERMS = re.findall(r"^(\w.*)\n:   (.+)$", PAGE, re.MULTILINE)


def test_each_term_has_one_sentence() -> None:
    assert len(TERMS) == PAGE.count("\n:   ") > 40
    for term, definition in TERMS:
        assert definition.endswith("."), term
        assert ". " not in definition, term


def test_no_term_is_defined_twice() -> None:
    terms = [term for line, _ in TERMS for term in line.lower().split(", ")]
    assert sorted(terms) == sorted(set(terms))
