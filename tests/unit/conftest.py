"""Fixtures of the unit tests: the template of the Lambda."""

import pytest
import yaml

from tests.helpers.lambda_template import TEMPLATE, TemplateLoader


@pytest.fixture(scope="module")
def template():
    """The whole template, parsed once."""
    return yaml.load(TEMPLATE.read_text(), TemplateLoader)


@pytest.fixture(scope="module")
def resources(template):
    """Its resources by logical name."""
    return template["Resources"]
