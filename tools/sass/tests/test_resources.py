"""What ptxas and cuobjdump say of a kernel's needs is read."""

from __future__ import annotations

import pytest
from sass import Resources
from sass.binary import without_parameters
from sass.resources import parse_launch_bounds, parse_ptxas, parse_usage

PTXAS = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1fPf' for 'sm_90'
ptxas info    : Function properties for _Z1fPf
    88 bytes stack frame, 84 bytes spill stores, 188 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 88 bytes cumulative stack size, 256 bytes smem
ptxas info    : Compile time = 68.604 ms
ptxas info    : Function properties for _Z6helperf
    8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Compiling entry function '_Z1gv' for 'sm_90'
ptxas info    : Function properties for _Z1gv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 27 registers, used 0 barriers
"""
USAGE = """
 Function _Z1fPf:
  REG:64 STACK:88 SHARED:256 LOCAL:0 CONSTANT[0]:572 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
ELF = """
.nv.info._Z1fPf
	<0x1>
	Attribute:	EIATTR_REGCOUNT
	Format:	EIFMT_SVAL
	Value:	0x40
	<0x2>
	Attribute:	EIATTR_MAX_THREADS
	Format:	EIFMT_SVAL
	Value:	0x100 0x1 0x1 
	<0x3>

.nv.info._Z1gv
	<0x1>
	Attribute:	EIATTR_CUDA_API_VERSION
"""


def test_the_output_of_ptxas() -> None:
    assert parse_ptxas(PTXAS) == {
        "_Z1fPf": Resources(64, 88, 256, 84, 188),
        "_Z1gv": Resources(27, 0, 0, 0, 0),
    }


def test_the_output_of_cuobjdump() -> None:
    assert parse_usage(USAGE) == {"_Z1fPf": Resources(64, 88, 256)}
    assert parse_launch_bounds(ELF) == {"_Z1fPf": 256}


@pytest.mark.parametrize(
    ("registers", "block", "threads"),
    [(27, 256, 2048), (32, 256, 2048), (33, 256, 1536), (63, 256, 1024), (255, 256, 256),
     (40, 512, 1536), (64, 1024, 1024), (16, 32, 1024), (32, 96, 2016)],
)  # fmt: skip
def test_the_threads_that_registers_allow(registers: int, block: int, threads: int) -> None:
    assert Resources(registers, 0, 0).threads_per_sm(block) == threads


@pytest.mark.parametrize(
    ("name", "short"),
    [("void n::f<float, 4>(n::Row<(int)2>, float*)", "n::f<float, 4>"),
     ("(anonymous namespace)::f(void (*)(int))", "(anonymous namespace)::f"), ("kernel", "kernel")],
)  # fmt: skip
def test_names_lose_their_parameters(name: str, short: str) -> None:
    assert without_parameters(name) == short
