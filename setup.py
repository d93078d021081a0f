"""Builds effebm_ext._C (the ops on the LibTorch stable ABI and the CPU kernels, these once per
instruction set) and, where CUDA is found, effebm_ext._C_cuda (the CUDA kernels).

CUDA is built if torch has it and nvcc is there; FORCE_CUDA=1 needs nvcc alone, EFFEBM_CPU_ONLY=1
leaves it out, TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX") names the architectures. No GPU is needed. A
build without CUDA says why, as its last line and in the record that `effebm info` prints.
"""

import itertools
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, get_cxx_compiler

CSRC = Path("csrc")
X86 = platform.machine().lower() in ("x86_64", "amd64")
TORCH_TARGET = "2.11"  # the oldest torch whose stable ABI the binary needs

# GCC 12 may move integers through an MMX register where nothing asks for it. It does not clear the
# x87 state after, and the next x87 result of the process is NaN (numpy, matplotlib).
HOST_FLAGS = ["-ffp-contract=off", "-fvisibility=hidden", *(["-mno-mmx"] if X86 else [])]
# The bits must not depend on the compiler's liberties: no contraction, no fast math. (Python adds
# -fwrapv, which costs half of the speed: GCC then leaves loops over normals scalar.)
FLAGS = ["-std=c++20", "-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter",
         "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv", *HOST_FLAGS]  # fmt: skip
ISA_FLAGS = {"baseline": []}
if X86:
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    # GCC 12 sees uninitialised values in its own header of AVX-512.
    ISA_FLAGS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma",
                           "-mprefer-vector-width=512", "-Wno-uninitialized",
                           "-Wno-maybe-uninitialized"]  # fmt: skip
# The pool is over files; two architectures of one at a time leave no core idle at the end.
NVCC_FLAGS = ["-std=c++20", "-O3", "--threads=2", "-fmad=false", "-DEFFEBM_ISA=device"]
CUDA_ARCHITECTURES = "8.0;9.0;10.0+PTX"
# A failed check must reach torch as an exception under a compiler that links libstdc++ and libgcc
# statically, too. The copy of libstdc++ stays private: if it were exported, the loader would merge
# parts of it with torch's, and a number written into a message would cut it or crash. The unwinder
# is the shared one: one of our own could not pass torch's frames. Other compilers link as before.
LINUX_LINK_FLAGS = ["-Wl,--exclude-libs,ALL", "-lgcc_s", "-pthread"]
LINK_FLAGS = LINUX_LINK_FLAGS if platform.system() == "Linux" else []

source_digest = runpy.run_path("effebm_ext/source_digest.py")["source_digest"]
_objects = runpy.run_path("tools/compile_objects.py")
Job, compile_objects = _objects["Job"], _objects["compile_objects"]
MAJOR, MINOR = TORCH_TARGET.split(".")
MACROS = [("EFFEBM_TORCH_TARGET", f'"{TORCH_TARGET}"'),
          ("TORCH_TARGET_VERSION", f"0x{int(MAJOR):02x}{int(MINOR):02x}000000000000")]  # fmt: skip
if X86:
    MACROS.append(("EFFEBM_X86", None))

SOURCES = (CSRC / "sources.txt").read_text().split()
CUDA_SOURCES = [s for s in SOURCES if s.startswith("cuda/")]
ONCE = ("cpu/dispatch.cpp", "cpu/pool.cpp")  # for all instruction sets
KERNELS = [s for s in SOURCES if s.startswith("cpu/") and s not in ONCE]
SHARED = [s for s in SOURCES if s not in KERNELS + CUDA_SOURCES]
HEADERS = [str(p) for p in CSRC.rglob("*.[hc]*") if p.suffix in (".h", ".cuh")]


COMPILER_PROBE = """
#include <concepts>
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 11
#error "older than GCC 11"
#endif
template <std::integral T> T zero() { return 0; }
int main() { return zero<int>(); }
"""


def check_compiler(compiler: list[str], linker: str) -> None:
    """Ends the build with one line if the compiler is missing or does not know C++20."""
    needed = "effebm_ext needs a C++20 compiler, GCC 11 or newer (CXX names it)"
    for program in (compiler[0], linker):
        if shutil.which(program) is None:
            raise SystemExit(f"{needed}: {program} was not found")
    command = [*compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, input=COMPILER_PROBE, capture_output=True, text=True)
    if done.returncode != 0:
        about = subprocess.run([*compiler, "--version"], capture_output=True, text=True)
        version = about.stdout.partition("\n")[0]
        error = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise SystemExit(f"{needed}: {shlex.join(compiler)} is {version}; {error.strip()}")


def find_nvcc() -> tuple[str | None, str]:
    """nvcc of CUDA_HOME or of the path, if CUDA is to be built; else why it is left out."""
    if os.environ.get("EFFEBM_CPU_ONLY") == "1":
        return None, "EFFEBM_CPU_ONLY=1 was set"
    forced = os.environ.get("FORCE_CUDA") == "1"
    if not forced and torch.version.cuda is None:
        hint = "if the build was isolated, use --no-build-isolation"
        return None, f"torch {torch.__version__} of the build has no CUDA ({hint})"
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None)
    if nvcc is None:
        missing = "nvcc was not found; set CUDA_HOME or the path"
        if forced:
            raise SystemExit(f"FORCE_CUDA=1: {missing}")
        return None, missing
    return nvcc, ""


def cuda_toolkit(nvcc: str) -> Path:
    """Where nvcc takes its headers from; the nvcc on the path may be a link or a script."""
    dry_run = [nvcc, "--dryrun", "-x", "cu", "-c", "/dev/null", "-o", "/dev/null"]
    steps = subprocess.run(dry_run, capture_output=True, text=True, check=True).stderr
    top = next(line for line in steps.splitlines() if line.startswith("#$ TOP="))
    return Path(top.removeprefix("#$ TOP="))


def architecture_flags() -> list[str]:
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES
    flags = []
    for entry in wanted.replace(" ", ";").split(";"):
        number = entry.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if entry.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


NVCC, NO_CUDA = find_nvcc()
RECORD = [("EFFEBM_BUILT_WITH_TORCH", f'"{torch.__version__}"'),
          ("EFFEBM_NO_CUDA", f'"{NO_CUDA}"'),
          ("EFFEBM_SOURCES", f'"{source_digest(Path())}"')]  # fmt: skip


class BuildKernels(BuildExtension.with_options(use_ninja=False)):
    """Compiles the sources of an extension and its kernels, each kind with its own compiler or
    flags, in one pool."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True  # every object is checked, whatever the extension's date
        if self.editable_mode:  # where other builds keep the objects; pip would throw them away
            self.build_temp = f"build/temp.{self.plat_name}"
        # The objects of kernels are the same for every Python.
        self.build_temp = self.build_temp.removesuffix(f"-{sys.implementation.cache_tag}")

    def build_extensions(self):
        check_compiler(shlex.split(get_cxx_compiler()), self.compiler.linker_so_cxx[0])
        super().build_extensions()

    def build_extension(self, ext):
        """The sources and the flags of an extension are known when its objects are asked for."""
        is_cuda = ext.name.endswith("_C_cuda")
        kernels = self.cuda_kernels() if is_cuda else self.cpu_kernels()
        if is_cuda:
            self.provide_torch_cuda(ext)

        def compile(sources, *, macros, include_dirs, extra_postargs, **_):
            folders = [f"-I{f}" for f in (*self.compiler.include_dirs, *include_dirs)]
            flags = [*self.compiler.compiler_so[1:], *macro_flags(macros), *folders]
            flags += extra_postargs
            own = [self.cpp(s, s, flags, besides=torch.__version__) for s in sources]
            return compile_objects([*kernels, *own])

        self.compiler.compile = compile
        super().build_extension(ext)

    def cpp(self, source, name, flags, besides=""):
        """A C++ source, to be compiled to an object of this name."""
        target = Path(self.build_temp) / f"{name}.o"
        return Job(shlex.split(get_cxx_compiler()), flags, Path(source), target, besides)

    def cpu_kernels(self):
        common = [*shlex.split(os.environ.get("CFLAGS", "")), "-fPIC", "-DNDEBUG", *FLAGS]
        for source, (isa, flags) in itertools.product(KERNELS, ISA_FLAGS.items()):
            macros = [*MACROS, ("EFFEBM_ISA", isa)]
            yield self.cpp(
                CSRC / source, f"{isa}/{source}", [*macro_flags(macros), *common, *flags]
            )
        record = CSRC / "build_record.cpp"
        yield self.cpp(record, record, [*macro_flags(RECORD), *common])

    def cuda_kernels(self):
        # nvcc takes more flags from the environment.
        appended = [os.environ.get(f"NVCC_{end}_FLAGS", "") for end in ("PREPEND", "APPEND")]
        for source in (s for s in CUDA_SOURCES if s.endswith(".cu")):
            target = Path(self.build_temp) / f"{source}.o"
            host = ["-Xcompiler", ",".join(["-fPIC", *HOST_FLAGS])]
            flags = [*NVCC_FLAGS, *host, *architecture_flags()]
            yield Job([NVCC], flags, CSRC / source, target, repr(appended))

    def provide_torch_cuda(self, ext):
        """A CPU build of torch cannot run the module but can build it."""
        if (Path(torch.__file__).parent / "lib" / "libtorch_cuda.so").exists():
            return
        folder = Path(self.build_temp) / "cuda"
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["-shared", "-fPIC", "-Wl,-soname,libtorch_cuda.so"]
        target = str(folder / "libtorch_cuda.so")
        self.spawn(["g++", *flags, "tools/torch_cuda_stub/stub.cpp", "-o", target])
        ext.library_dirs.append(str(folder))


def macro_flags(macros):
    return [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in macros]


def extension(name, sources, **options):
    return CppExtension(
        name,
        [str(CSRC / s) for s in sources],
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        depends=HEADERS,
        **options,
    )


extensions = [
    extension("effebm_ext._C", SHARED, include_dirs=[pybind11.get_include()], define_macros=MACROS)
]
if NVCC is not None:
    toolkit = cuda_toolkit(NVCC)
    extensions.append(
        extension(
            "effebm_ext._C_cuda",
            [s for s in CUDA_SOURCES if s.endswith(".cpp")],
            include_dirs=[str(toolkit / "include")],
            define_macros=[*MACROS, ("USE_CUDA", None)],
            library_dirs=[str(toolkit / "lib64")],
            libraries=["torch_cuda", "cudart_static", "dl", "rt", "pthread"],
        )
    )

distribution = setup(ext_modules=extensions, cmdclass={"build_ext": BuildKernels})
if NO_CUDA and distribution.have_run.get("build_ext"):
    print(f"effebm_ext: CUDA kernels: left out: {NO_CUDA}", flush=True)
