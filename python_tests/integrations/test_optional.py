"""Other libraries are optional: nothing loads them but their own integration, which names them."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "install"),
    [("torchebm", "torchebm", "torchebm==0.8.9"), ("ebmkit", "ebm", "ebmkit==0.16.0")],
)
def test_a_missing_library_is_named(module, library, install, monkeypatch):
    name = f"effebm_ext.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"{name} needs {module}: pip install {install}"):
        importlib.import_module(name)


def test_the_library_loads_no_other_library():
    code = (
        "import sys, effebm_ext, effebm_ext.integrations, effebm_ext.runs;"
        "print([name for name in ('torchebm', 'ebm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
