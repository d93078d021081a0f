"""Builds effebm_ext._C: the ops on the LibTorch stable ABI, and the CPU kernels once per
instruction set. Everything else about the package stands in pyproject.toml."""

import platform
from pathlib import Path

import pybind11
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

CSRC = Path("csrc")
X86 = platform.machine().lower() in ("x86_64", "amd64")
TORCH_TARGET = "2.11"  # the oldest torch whose stable ABI the binary needs

# The bits must not depend on the compiler's liberties: no contraction, no fast math.
FLAGS = ["-std=c++20", "-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter",
         "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
         "-fvisibility=hidden"]  # fmt: skip
ISA_FLAGS = {"baseline": []}
if X86:
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma",
                           "-mprefer-vector-width=512"]  # fmt: skip

MAJOR, MINOR = TORCH_TARGET.split(".")
MACROS = [("EFFEBM_TORCH_TARGET", f'"{TORCH_TARGET}"'),
          ("TORCH_TARGET_VERSION", f"0x{int(MAJOR):02x}{int(MINOR):02x}000000000000")]  # fmt: skip
if X86:
    MACROS.append(("EFFEBM_X86", None))

SOURCES = (CSRC / "sources.txt").read_text().split()
KERNELS = [s for s in SOURCES if s.startswith("cpu/") and s != "cpu/dispatch.cpp"]
SHARED = [s for s in SOURCES if s not in KERNELS]


class BuildKernels(BuildExtension):
    """Compiles the kernel sources once per instruction set, then the extension around them."""

    def build_extension(self, ext):
        for isa, flags in ISA_FLAGS.items():
            ext.extra_objects += self.compiler.compile(
                [str(CSRC / s) for s in KERNELS],
                output_dir=str(Path(self.build_temp) / isa),
                macros=[*MACROS, ("EFFEBM_ISA", isa)],
                extra_postargs=FLAGS + flags,
                depends=ext.depends,
            )
        super().build_extension(ext)


setup(
    ext_modules=[
        CppExtension(
            "effebm_ext._C",
            [str(CSRC / s) for s in SHARED],
            include_dirs=[pybind11.get_include()],
            define_macros=MACROS,
            extra_compile_args=FLAGS,
            depends=[str(p) for p in CSRC.rglob("*.h") if "tests" not in p.parts],
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
