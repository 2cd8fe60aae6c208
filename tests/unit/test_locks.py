"""What is installed is pinned by hash, for every processor and without an address in it."""

import re

import pytest

from tests.helpers.paths import ROOT

LOCKS = [
    ROOT / "requirements.lock",
    ROOT / "bench" / "requirements.txt",
    ROOT / "tests" / "e2e" / "requirements.lock",
    ROOT / "tests" / "browser" / "requirements.lock",
    ROOT / "tests" / "superset" / "requirements.lock",
    ROOT / "docs" / "deploy" / "image.lock",
    *sorted((ROOT / "tests" / "engines" / "locks").glob("*.txt")),
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_has_a_version_and_hashes(lock):
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.M).replace("\\\n", "")
    packages = text.splitlines()
    assert packages
    for package in packages:
        assert re.match(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+[ ;]", package), package
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package
        assert "://" not in package and "-url" not in package, package


def test_the_image_has_the_versions_that_were_tested():
    versions = [
        set(re.findall(r"^([\w.-]+==[\w.]+) \\$", lock.read_text(), re.M))
        for lock in (ROOT / "docs" / "deploy" / "image.lock", LOCKS[0])
    ]
    assert set() < versions[0] <= versions[1]


def test_the_tool_that_builds_this_project_is_pinned_too():
    assert re.search(r"^setuptools==", LOCKS[0].read_text(), re.M)


def test_nothing_is_installed_without_hashes():
    makefile = (ROOT / "Makefile").read_text()
    flags = re.search(r"^PIP_FLAGS := (.*)$", makefile, re.M)[1]
    assert "--require-hashes" in flags
    installs = re.findall(r"pip install (.*?)(?=\n\t\S|\n\n)", makefile, re.S)
    assert len(installs) == 7
    for install in installs:
        # The project itself is this folder; what builds it is in the lock.
        itself = "--editable ." in install
        assert itself == ("--no-build-isolation" in install)
        assert itself or install.startswith("$(PIP_FLAGS) "), install


def test_each_engine_has_a_lock():
    engines = re.search(r"^ENGINES := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert {path.stem for path in LOCKS[6:]} == set(engines.split())
