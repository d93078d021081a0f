"""What the speed of the CUDA kernels rests on, as far as machine code shows it without a GPU: few
registers, so that enough threads run at the same time; few instructions per element; no local
memory; accesses of 16 bytes. The tests print the figures (pytest -rP)."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from sass import Kernel, find, find_cuobjdump, find_nvcc, kernels_of, shortest_path
from sass.toolkit import REPOSITORY

pytestmark = [
    pytest.mark.skipif(find_nvcc() is None, reason="nvcc is missing: there is nothing to look at"),
    pytest.mark.skipif(
        find_cuobjdump() is None, reason="cuobjdump is missing: pip install nvidia-cuda-cuobjdump"
    ),
]

STEPS = {"float": "float32", "double": "float64", "bfloat16": "bfloat16", "float16": "float16"}
SOURCES = [
    *(f"{op}_{name}" for op in ("langevin_step", "compress") for name in STEPS.values()),
    "perturb",
    "packing",
]
STEP = "(effebm::device::cuda_kernels::StepKind)"
NOISE = {"IMAD.WIDE.U32": 20, "MUFU.RSQ": 2}  # of a quad: ten rounds of Philox, two square roots


class Gate(NamedTuple):
    """A kernel by parts of its name, and the most that it may take. ``threads`` is how many have to
    run on a multiprocessor at the same time, of 2048."""

    name: str
    parts: tuple[str, ...]
    registers: int
    threads: int
    instructions: float = 0  # per element on the path of vectors; 0: not limited
    elements: int = 4  # of a thread
    marks: dict[str, int] = {}  # noqa: RUF012 - what the path of vectors passes through
    widths: dict[tuple[str, int], int] = {}  # noqa: RUF012 - its accesses of tensors


def step_gates(scalar: str) -> list[Gate]:
    """The gates of the steps of a dtype, of which the plain ones have kernels of their own."""
    quad, plain = f"<4, true>, {STEP}0", ("flat<",)
    is_16_bit, is_double = scalar.endswith("16"), scalar == "double"
    at_once = 2 if is_double else 1
    marks = {**NOISE, "LDG": 2 * at_once, "STG": at_once}
    width = 8 if is_16_bit else 16
    widths = {("LDG", width): 2 * at_once, ("STG", width): at_once}
    few, full = (64, 80) if is_double else (32, 40)
    threads = 1024 if is_double else 2048
    budgets = (80, 100, 95) if is_double else (75, 90, 83) if is_16_bit else (75, 88, 80)
    gates = [
        Gate(name, (*plain, quad, kind), few, threads, most, 4, marks | more, widths)
        for name, kind, most, more in (
            ("plain", "KeepAll", budgets[0], {}),
            ("Block-Sign(64)", "SignInLanes", budgets[1], {"SHFL": 7}),
            ("threshold", "KeepSelected", budgets[2], {}),
        )
    ]
    gates.append(
        Gate("with all options", ("flat<", f"<4, true>, {STEP}1", "Any"), full, threads * 3 // 4)
    )
    sums = 88 if is_double else 80
    gates.append(Gate("with sums", ("flat<", f"<4, true>, {STEP}2", "Any"), sums, 512))
    gates.append(Gate("a random block", ("block_of_rows<", f"<4, true>, {STEP}3>"), 80, 512))
    # Rows in registers: 32 values of a thread, and the search. Few threads, each with eight quads
    # on the way, still have more bytes on the way than memory needs.
    held = ("topk_rows<", f"<4, true>, {STEP}1>, true>")
    gates.append(Gate("Top-k in registers", held, 168 if is_double else 88, 256))
    blocks = ("block_sign_rows<", f"<4, true>, {STEP}1>")
    gates.append(Gate("Block-Sign in registers", blocks, 104 if is_double else 64, 512))
    if is_16_bit:  # eight elements: bound by arithmetic, and fewer instructions than two quads
        wide = f"<8, true>, {STEP}0"
        marks = {"IMAD.WIDE.U32": 40, "MUFU.RSQ": 4, "LDG": 2, "STG": 1}
        widths = {("LDG", 16): 2, ("STG", 16): 1}
        gates += [
            Gate(name, (*plain, wide, kind), registers, threads, most, 8, marks, widths)
            for name, kind, registers, threads, most in (
                ("plain, 8 elements", "KeepAll", 40, 1536, 65),
                ("Block-Sign, 8 elements", "SignInLanes", 48, 1280, 76),
                ("threshold, 8 elements", "KeepSelected", 48, 1280, 74),
            )
        ]
    return gates


GATES = {f"langevin_step_{STEPS[scalar]}": step_gates(scalar) for scalar in STEPS}


def check(kernel: Kernel, gate: Gate, source: str) -> None:
    threads = kernel.resources.threads_per_sm(256)
    text = f"{source}, {gate.name}: {kernel.resources.registers} registers, {threads} threads"
    assert kernel.resources.registers <= gate.registers, (
        f"{text}: the rule is at most {gate.registers} registers"
    )
    assert threads >= gate.threads, f"{text}: the rule is at least {gate.threads} threads"
    if gate.instructions:
        path = shortest_path(kernel.body, gate.marks)
        each = len(path) / gate.elements
        text += f", {each:.1f} instructions per element"
        assert each <= gate.instructions, f"{text}: the rule is at most {gate.instructions}"
        for access, count in gate.widths.items():
            assert path.accesses.get(access, 0) >= count, (
                f"{text}: the rule is {count} of {access} (opcode, bytes); it has {path.accesses}"
            )
    print(text)


@pytest.mark.parametrize("source", SOURCES)
def test_kernels_keep_the_rules_of_speed(source: str) -> None:
    kernels = kernels_of(REPOSITORY / "csrc" / "cuda" / f"{source}.cu")
    for kernel in kernels:
        assert not kernel.local_memory, f"{kernel.name}: the rule is no local memory"
        assert kernel.resources.stack == 0, f"{kernel.name}: the rule is no local memory"
        assert kernel.resources.threads_per_sm(kernel.block) >= kernel.block, kernel.name
    for gate in GATES.get(source, []):
        check(find(kernels, *gate.parts), gate, source)
