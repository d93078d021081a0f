"""The CUDA module as it is shipped, built and loaded without a GPU: no warning, no spill, no local
memory, for every architecture; its ops registered; the wrappers traced with CUDA tensors that are
not there. The compiler links libstdc++ and libgcc statically, which the module must stand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import static_runtime

ROOT = Path(__file__).parents[2]
GATE = "-Werror all-warnings -Xptxas --warn-on-spills -Xptxas --warn-on-local-memory-usage"

pytestmark = pytest.mark.skipif(
    shutil.which("nvcc") is None, reason="nvcc is missing: the CUDA kernels cannot be compiled"
)


_without_cuda = shutil.ignore_patterns("cuda")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the whole package, built for sm_80, sm_90 and sm_100 with PTX."""
    folder = tmp_path_factory.mktemp("cuda")
    for objects in (ROOT / "build").glob("temp.*"):  # those of the CPU that are up to date are used
        shutil.copytree(objects, folder, ignore=_without_cuda, dirs_exist_ok=True)
    command = [sys.executable, "setup.py", "build", "--build-lib", folder, "--build-temp", folder]
    environment = {
        **static_runtime.environment(tmp_path_factory.mktemp("compiler")),
        "FORCE_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": "8.0;9.0;10.0+PTX",
        "NVCC_APPEND_FLAGS": GATE,
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


def run_with(built, program):
    """Runs a program with the built package; a stub stands in for libtorch_cuda on CPU torch."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(built),
        "LD_LIBRARY_PATH": str(built / "cuda"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=built, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_module_loads_and_registers_every_op(built):
    printed = run_with(
        built,
        """
import torch, effebm_ext
from effebm_ext import extension
assert not extension.cuda_missing, extension.cuda_missing
for op in ("compress", "drift", "langevin_step", "langevin_step_"):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"effebm::{op}", "CUDA"), op
print(effebm_ext.__file__)
""",
    )
    assert str(built) in printed


def test_what_is_linked_statically_stays_private(built):
    (module,) = (built / "effebm_ext").glob("_C_cuda*.so")
    libraries = static_runtime.needed(module)
    assert "libgcc_s.so.1" in libraries
    assert "libstdc++.so.6" not in libraries  # else this test would show nothing
    assert not {name for name in static_runtime.exported(module) if "locale" in name}


def test_the_wrappers_trace_cuda_tensors(built):
    run_with(
        built,
        """
import torch, effebm_ext as eff
from torch._subclasses import FakeTensorMode
with FakeTensorMode():
    x, g, e = (torch.empty(3, 2, 5, device="cuda") for _ in range(3))
    for compressor in (None, eff.TopK(2), eff.BlockSign(4)):
        y = eff.langevin_step(x, g, 0.1, compressor=compressor, rng=eff.Key(0))
        assert (y.device.type, y.shape, y.dtype) == ("cuda", x.shape, x.dtype)
        residual = None if compressor is None else e
        assert eff.langevin_step_(x, g, 0.1, compressor=compressor, residual=residual) is x
    assert eff.topk_compress(x, 2).device.type == "cuda"
    assert eff.block_sign_compress(x.bfloat16(), 4).dtype == torch.bfloat16
    try:
        eff.langevin_step_(x, g.cpu(), 0.1)
    except ValueError as error:
        assert "grad: expected a tensor on cuda:0, got one on cpu" in str(error), error
    else:
        raise AssertionError("a gradient on another device was accepted")
""",
    )
