"""The pool that compiles objects: what it compiles again, and what it says of failures."""

import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_objects = runpy.run_path(str(ROOT / "tools" / "compile_objects.py"))
Job, compile_objects = _objects["Job"], _objects["compile_objects"]
# Writes the source's name, and as its dependencies the source and a header.
COMPILER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in -MF) rule=$2 ;; -c) source=$2 ;; -o) target=$2 ;; esac
  shift
done
. ./$source
echo "$target: $source \\\\\n common.h /usr/include/none.h" > "$rule"
echo "compiled $source"
echo > "$target"
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Compiles by running the source, which is a script."""
    monkeypatch.chdir(tmp_path)
    Path("compiler").write_text(COMPILER)
    Path("compiler").chmod(0o755)
    for name in ("a", "b", "common.h"):
        Path(name).write_text("")
    return str(tmp_path / "compiler")


@pytest.fixture
def compiled(compiler, capsys):
    """Which sources are compiled now."""

    def run(flags=(), besides="", folder="out"):
        jobs = [Job([compiler], list(flags), Path(s), Path(folder, s), besides) for s in "ab"]
        assert compile_objects(jobs) == [f"{folder}/a", f"{folder}/b"]
        lines = capsys.readouterr().out.splitlines()
        return {line.split()[-1] for line in lines if line.startswith("compiled ")}

    return run


def test_what_is_up_to_date_is_not_compiled_again(compiled):
    assert compiled() == {"a", "b"}
    assert compiled() == set()
    os.utime("a")
    assert compiled() == set()
    Path("a").write_text("# changed\n")
    assert compiled() == {"a"}
    Path("common.h").write_text("changed\n")
    assert compiled() == {"a", "b"}
    Path("out/b").unlink()
    assert compiled() == {"b"}
    assert compiled(flags=["-O3"]) == {"a", "b"}
    assert compiled(flags=["-O3"], besides="torch 3") == {"a", "b"}
    assert compiled(flags=["-O3"], besides="torch 3") == set()


def test_objects_of_a_copy_are_up_to_date(compiled):
    compiled()
    Path("out").rename("copy")
    assert compiled(folder="copy") == set()


def test_a_source_that_changes_meanwhile_is_compiled_again(compiled):
    Path("a").write_text("[ -e seen ] || { touch seen; echo '# changed' >> a; }\n")
    assert compiled() == {"a", "b"}
    assert compiled() == {"a"}
    assert compiled() == set()


def test_as_many_are_compiled_at_a_time_as_told(compiled, monkeypatch):
    wait = "touch {}; for i in $(seq 100); do [ -e {} ] && break; sleep 0.1; done; [ -e {} ]"
    for own, other in ("ab", "ba"):
        Path(own).write_text(wait.format(f"{own}.on", f"{other}.on", f"{other}.on || echo alone"))
    monkeypatch.setenv("MAX_JOBS", "2")
    assert compiled() == {"a", "b"}
    Path("a").write_text("[ ! -e b.now ] || exit 1; touch a.now; sleep 0.2; rm a.now\n")
    Path("b").write_text("[ ! -e a.now ] || exit 1; touch b.now; sleep 0.2; rm b.now\n")
    monkeypatch.setenv("MAX_JOBS", "1")
    assert compiled() == {"a", "b"}


def test_a_failure_is_told_and_the_rest_left_out(compiler, monkeypatch, capsys):
    Path("a").write_text("echo 'a: error: no' >&2; exit 3\n")
    monkeypatch.setenv("MAX_JOBS", "1")
    jobs = [Job([compiler], [], Path(s), Path("out", s)) for s in "ab"]
    with pytest.raises(SystemExit, match=f"^exit code 3 of {compiler} .* -c a "):
        compile_objects(jobs)
    assert "a: error: no\n" in capsys.readouterr().out
    Path("a").write_text("")
    compile_objects(jobs)
    assert "compiled a\n" in capsys.readouterr().out
