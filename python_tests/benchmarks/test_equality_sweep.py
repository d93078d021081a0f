"""The sweep that compares a GPU with the CPU, on every device under test."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import cuda_equality as sweep

CASES = range(60)


@pytest.fixture(scope="module")
def wanted():
    """What the CPU kernels give, before those under the emulator take their place."""
    return [sweep.results(sweep.random_case(n, 5000), "cpu") for n in CASES]


def test_every_case_has_the_bits_of_the_cpu(wanted, device):
    for number, want in zip(CASES, wanted, strict=True):
        case = sweep.random_case(number, 5000)
        pairs = zip(sweep.results(case, device), want, strict=True)
        assert all(sweep.same_bits(got, expected) for got, expected in pairs), case


def test_the_sweep_reaches_every_op_dtype_and_option():
    cases = [sweep.random_case(n, 1 << 22) for n in range(200)]
    assert {case.op for case in cases} == set(sweep.OPS)
    assert {case.dtype for case in cases} == set(sweep.DTYPES)
    assert {case.values for case in cases} == set(sweep.VALUES)
    assert max(case.rows * case.dim for case in cases) >= 1_000_000
    for option in ("noise_std", "clip", "bounds"):
        assert len({str(case.options[option]) for case in cases}) >= 2


def test_one_wrong_bit_is_seen():
    t = torch.tensor([1.0, -0.0, torch.nan])
    assert sweep.same_bits(t, t.clone())
    assert not sweep.same_bits(t, t + 0.0)  # -0 becomes +0
    assert not sweep.same_bits(t, t.nan_to_num(0.0))


def test_a_sweep_counts_and_names_the_cases_that_differ(capsys):
    def wrong_where_odd(case):
        found = sweep.results(case, "cpu")
        return [t + 1 for t in found] if case.number % 2 else found

    assert sweep.count_differing(range(6), 5000, wrong_where_odd) == 3
    *named, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].split()[-1] for line in named] == ["1", "3", "5"]
    assert last == "6 cases, 3 differ"
