"""What cuobjdump prints is read as instructions."""

from __future__ import annotations

import pytest
from sass import parse_dump
from sass.instructions import Instruction

DUMP = """
Fatbin elf code:
================
arch = sm_90

	code for sm_90
		Function : _Z1fPf
	.headerflags	@"EF_CUDA_SM90 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM90)"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                 /* 0x00000a00ff017b82 */
                                                                          /* 0x000fe20000000800 */
        /*0010*/              @!P0 LDG.E.EF.128 R8, desc[UR6][R12.64] ;   /* 0x000000060c088981 */
        /*0020*/             @!UP1 UIADD3 UR4, UR4, 0x1, URZ ;            /* 0x000000010404d890 */
        /*0030*/                   FSETP.GTU.FTZ.AND P1, PT, |R0|, +INF , PT ;
        /*0040*/                   EXIT ;                                 /* 0x000000000000794d */
        /*0050*/                   BRA 0x50;                              /* 0xfffffffc00fc7947 */
		..........

		Function : _Z1gv
        /*0000*/                   EXIT ;
"""


def test_a_dump_is_read_by_functions() -> None:
    functions = parse_dump(DUMP)
    assert list(functions) == ["_Z1fPf", "_Z1gv"]
    assert functions["_Z1gv"] == [Instruction(0, "", "EXIT", ())]
    first, load, uniform, compare, _, branch = functions["_Z1fPf"]
    assert first == Instruction(0, "", "LDC", ("R1", "c[0x0][0x28]"))
    assert load == Instruction(16, "!P0", "LDG.E.EF.128", ("R8", "desc[UR6][R12.64]"))
    assert (uniform.predicate, uniform.opcode) == ("!UP1", "UIADD3")
    assert compare.operands == ("P1", "PT", "|R0|", "+INF", "PT")
    assert branch == Instruction(0x50, "", "BRA", ("0x50",))


def test_a_prefix_is_made_of_whole_modifiers() -> None:
    store = Instruction(0, "", "STG.E.128", ())
    assert store.matches("STG")
    assert store.matches("STG.E.128")
    assert not store.matches("ST")
    assert not store.matches("STG.E.12")


@pytest.mark.parametrize(
    ("opcode", "access"),
    [("LDG.E.EF.128", ("LDG", 16)), ("STG.E.64", ("STG", 8)), ("LDS", ("LDS", 4)),
     ("LDG.E.U16.CONSTANT", ("LDG", 2)), ("STL.U8", ("STL", 1)), ("LDC.64", None),
     ("FADD", None)],
)  # fmt: skip
def test_widths_of_accesses(opcode: str, access: tuple[str, int] | None) -> None:
    assert Instruction(0, "", opcode, ()).access == access
