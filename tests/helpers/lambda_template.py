"""lambda/template.yaml for the tests of it: parsed, its short forms written out."""

import yaml

from tests.helpers.paths import ROOT

TEMPLATE = ROOT / "lambda" / "template.yaml"
TRANSFORM = TEMPLATE.with_name("transform.yaml")


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become the long ones."""


def short_form(loader, tag, node):
    """`!Ref X` -> {"Ref": X}, `!Sub X` -> {"Fn::Sub": X}."""
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


TemplateLoader.add_multi_constructor("!", short_form)


def of_type(resources, kind):
    """Properties of all resources of one type."""
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}


def branches(value):
    """All that a value can be: both sides of every Fn::If, in lists flattened."""
    if isinstance(value, dict) and "Fn::If" in value:
        return [b for side in value["Fn::If"][1:] for b in branches(side)]
    if isinstance(value, list):
        return [b for item in value for b in branches(item)]
    return [] if value == {"Ref": "AWS::NoValue"} else [value]
