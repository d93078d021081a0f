"""The shortest path through control flow of every kind that ptxas makes."""

from __future__ import annotations

import pytest
from sass import FlowError, Instruction, parse_dump, shortest_path

STORE = {"STG": 1}


def body(*lines: str) -> list[Instruction]:
    """A kernel of these lines, at the addresses 0x0, 0x10, 0x20, ..."""
    text = "\n".join(f"        /*{16 * i:04x}*/  {line} ;" for i, line in enumerate(lines))
    return parse_dump("Function : f\n" + text)["f"]


def length(kernel: list[Instruction], marks: dict[str, int]) -> int:
    return len(shortest_path(kernel, marks))


def test_a_predicated_exit_ends_a_path_without_marks_only() -> None:
    kernel = body("S2R R0, SR_TID.X", "@P0 EXIT", "FADD R1, R1, R1", "STG.E.128 [R2], R4", "EXIT")
    assert length(kernel, {}) == 2
    path = shortest_path(kernel, STORE)
    assert [at.opcode for at in path.instructions] == ["S2R", "EXIT", "FADD", "STG.E.128", "EXIT"]
    assert path.accesses == {("STG", 16): 1}


def test_an_exit_that_is_never_taken_leads_on() -> None:
    assert length(body("@!PT EXIT", "STG [R2], R4", "@PT EXIT"), {}) == 3


@pytest.mark.parametrize("branch", ["@P0 BRA 0x30", "BRA P0, 0x30", "BRA.DIV UR4, 0x30"])
def test_of_two_ways_the_shorter_is_taken(branch: str) -> None:
    kernel = body(branch, "FADD R1, R1, R1", "FADD R1, R1, R1", "STG [R2], R4", "EXIT")
    assert length(kernel, STORE) == 3
    assert length(kernel, {"FADD": 1}) == 5


def test_a_branch_for_all_threads_has_one_way() -> None:
    assert length(body("BRA 0x20", "EXIT", "FADD R1, R1, R1", "BRA 0x10"), {}) == 4


# The correctly rounded square root: a few instructions for normal numbers, a call for others.
ROOT = body(
    "BSSY B0, 0x80",                     # 00
    "MUFU.RSQ R1, R0",                   # 10
    "@!P1 BRA 0x60",                     # 20
    "MOV R20, 0x50",                     # 30
    "CALL.REL.NOINC 0xa0",               # 40
    "BRA 0x70",                          # 50
    "FMUL.FTZ R0, R1, R0",               # 60
    "BSYNC B0",                          # 70
    "STG.E [R2], R0",                    # 80
    "EXIT",                              # 90
    "@P1 FMUL.FTZ R0, R0, 0.5",          # a0
    "RET.REL.NODEC R20 0x0",             # b0
    "BRA 0xc0",                          # c0
    "NOP",                               # d0
)  # fmt: skip


def test_the_slow_path_of_a_square_root_is_left_out() -> None:
    assert length(ROOT, STORE | {"MUFU.RSQ": 1}) == 7


def test_a_call_that_is_asked_for_returns_behind_it() -> None:
    path = shortest_path(ROOT, STORE | {"CALL": 1})
    assert [at.address for at in path.instructions] == [
        0x00, 0x10, 0x20, 0x30, 0x40, 0xA0, 0xB0, 0x50, 0x70, 0x80, 0x90,
    ]  # fmt: skip


def test_a_loop_is_run_as_often_as_the_marks_need() -> None:
    kernel = body("S2R R0, SR_TID.X", "LDG.E.64 R1, [R2]", "FADD R1, R1, R1", "@P0 BRA 0x10",
                  "STG [R2], R1", "EXIT")  # fmt: skip
    assert length(kernel, {"LDG": 1}) == 6
    path = shortest_path(kernel, {"LDG": 4, "STG": 1})
    assert len(path) == 1 + 4 * 3 + 2
    assert path.accesses == {("LDG", 8): 4, ("STG", 4): 1}


def test_padding_is_not_counted() -> None:
    kernel = body("NOP", "@P0 BRA 0x30", "EXIT", "NOP", "NOP", "STG [R2], R1", "EXIT")
    assert length(kernel, STORE) == 3


@pytest.mark.parametrize("end", ["BPT.TRAP 0x1", "CALL.ABS.NOINC R2"])
def test_a_failure_is_not_an_end(end: str) -> None:
    kernel = body("@P0 BRA 0x30", end, "EXIT", "FADD R1, R1, R1", "FADD R1, R1, R1", "EXIT")
    assert length(kernel, {}) == 4
    with pytest.raises(FlowError, match="no path to EXIT"):
        shortest_path(body("BPT.TRAP 0x1", "EXIT"), {})


def test_marks_that_cannot_be_met_are_told() -> None:
    with pytest.raises(FlowError, match=r"no path to EXIT meets \{'STG': 2\}"):
        shortest_path(ROOT, {"STG": 2})


@pytest.mark.parametrize(
    "line",
    ["BRX R2 -0x1a0", "RET.REL.NODEC R2 0x0", "BRA 0x1230", "CALL.REL.NOINC 0x0", "BSYNC B3"],
)
def test_what_cannot_be_followed_is_refused(line: str) -> None:
    with pytest.raises(FlowError, match="0x0: "):
        shortest_path(body(line, "EXIT"), STORE)
