"""The package that lambda/make_zip.py makes: what is in it, and what it refuses."""

import make_zip
import pytest


@pytest.fixture
def project(tmp_path):
    """A project with a handler, modules it uses, and one it does not."""
    files = {
        "lambda/handler.py": "import json\nimport boto3\nfrom loader import load\n",
        "loader/__init__.py": "",
        "loader/load.py": "from .keys import decode\n\ndef later():\n    import chdb\n",
        "loader/keys.py": "from urllib.parse import unquote_plus as decode\n",
        "loader/cli/app.py": "import typer\n",
        "loader/clickhouse/sql/loads.sql": "select 1",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def package(project):
    """The zip of that project."""
    return make_zip.build(project / "lambda/handler.py", project / "build/out.zip", project)


def test_package_holds_the_handler_and_what_it_imports(project):
    """And not the CLI, whose libraries Lambda lacks."""
    contents = make_zip.collect(project / "lambda/handler.py", project)
    assert sorted(contents.files) == [
        "handler.py",
        "loader/__init__.py",
        "loader/clickhouse/sql/loads.sql",
        "loader/keys.py",
        "loader/load.py",
    ]
    assert contents.left_out == {"chdb"}


def test_same_sources_give_the_same_bytes(project):
    """Otherwise every deployment would change the function."""
    first = package(project).read_bytes()
    (project / "loader/keys.py").touch()
    assert package(project).read_bytes() == first


def test_package_refuses_libraries_lambda_lacks(project):
    """Better now than at the first cold start."""
    (project / "loader/keys.py").write_text("import numpy\n")
    with pytest.raises(make_zip.BuildError, match=r"keys\.py: imports numpy"):
        package(project)


def test_package_refuses_compiled_files(project):
    """They would run on one processor only."""
    (project / "loader/clickhouse/sql/fast.sql").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(make_zip.BuildError, match=r"fast\.sql: only text"):
        package(project)


def test_package_refuses_to_grow_over_a_megabyte(project):
    """Nothing in it should be large; a cold start reads it all."""
    (project / "loader/clickhouse/sql/big.sql").write_text("-" * 1_100_000)
    with pytest.raises(make_zip.BuildError, match="more than 1,048,576"):
        package(project)
    assert not (project / "build/out.zip").exists()
