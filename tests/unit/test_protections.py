"""Each protection that `make mutations` removes is still where its mutation looks for it."""

import ast
import re

import pytest
from dbt_common.clients.jinja import get_environment

from tests.chaos.protections import Mutation, changed_texts
from tests.chaos.protections_loader import LOADER
from tests.chaos.protections_tables import TABLES
from tests.chaos.protections_together import TOGETHER
from tests.helpers.paths import ROOT

MUTATIONS = (*LOADER, *TABLES, *TOGETHER)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "_"))
def test_a_mutation_finds_its_text_and_leaves_files_that_parse(mutation: Mutation):
    for file, text in changed_texts(mutation).items():
        assert text != (ROOT / file).read_text()
        if file.endswith(".py"):
            ast.parse(text)
        elif not file.startswith("loader"):
            get_environment(None, capture_macros=True).parse(text)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "_"))
def test_a_mutation_names_scenarios_or_tests_that_exist(mutation: Mutation):
    assert bool(mutation.scenarios) != bool(mutation.tests)
    for test in mutation.tests:
        file, name = re.fullmatch(r"(tests/\S+\.py)::(test_\w+)(?:\[.+\])?", test).groups()
        assert f"def {name}(" in (ROOT / file).read_text(), test


def test_every_protection_has_a_name_of_its_own():
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)


def test_a_mutation_whose_text_is_gone_says_so():
    gone = Mutation("a protection", (("loader/gc.py", "this text is not there", ""),))
    with pytest.raises(LookupError, match=r"a protection: loader/gc\.py has 0 times"):
        changed_texts(gone)
