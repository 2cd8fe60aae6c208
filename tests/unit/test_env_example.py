"""`.env.example` lists every setting with its default."""

import re
from collections.abc import Iterator, Mapping

from loader.settings import Settings
from tests.helpers.paths import ROOT

# What boto3 reads by itself.
BY_BOTO3 = {"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}


class Recorder(Mapping[str, str]):
    """An environment that records which variables are read."""

    def __init__(self, values: dict[str, str] | None = None):
        self.values = values or {}
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


def example() -> dict[str, str]:
    """The variables of the file, commented or not."""
    found = re.findall(
        r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M
    )
    assert len(found) == len(dict(found)), "a variable is listed twice"
    return dict(found)


def test_it_lists_what_the_settings_read_and_nothing_else():
    recorder = Recorder()
    Settings.from_env(recorder)
    assert set(example()) == recorder.read | BY_BOTO3


def test_its_values_are_the_defaults():
    values = {name: value for name, value in example().items() if name not in BY_BOTO3}
    assert Settings.from_env(values) == Settings.from_env({})


def test_dbt_and_the_function_read_no_other_variables():
    for file, pattern in (
        ("profiles.yml", r"env_var\('(\w+)'"),
        ("lambda/template.yaml", r"^ {10}([A-Z][A-Z0-9_]+):"),
    ):
        names = set(re.findall(pattern, (ROOT / file).read_text(), re.M))
        assert names and names <= set(example()), file


def test_every_variable_is_explained():
    lines = (ROOT / ".env.example").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[A-Z][A-Z0-9_]+=", line):
            above = lines[number - 1]
            assert above.startswith("#"), line
