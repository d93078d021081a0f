"""The kernel benchmark of GPUs, as far as it runs without one: cases, targets, tables, and a run in
which the CPU stands in for the device."""

import contextlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import kernels
import launches
import options
import report
import targets


def test_the_cases_of_a_gpu_are_large_and_of_all_lengths_in_question():
    shapes = options.parse_shapes(options.SHAPES["cuda"])
    assert {d for _, d in shapes} == {64, 256, 1024, 3072, 16_384, 50_000, 800_000, 10**7}
    assert all(targets.LARGE <= rows * d < 1.1 * targets.LARGE for rows, d in shapes)


@pytest.mark.parametrize(
    ("op", "dtype", "dim", "share"),
    [("plain", "float32", 64, 0.95), ("block-sign:64", "float32", 10**7, 0.88),
     ("block-sign:3072", "float32", 3072, None), ("topk:0.01", "float32", 64, 0.8),
     ("topk:0.01", "float32", 3072, 0.7), ("topk:0.01", "float32", 16_384, 0.7),
     ("topk:0.01", "float32", 10**7, 0.65), ("plain", "bfloat16", 64, 0.5),
     ("topk:0.01", "bfloat16", 3072, None), ("plain", "float64", 3072, None)],
)  # fmt: skip
def test_targets(op, dtype, dim, share):
    result = {"op": op, "dtype": dtype, "dim": dim, "elements": targets.LARGE}
    wanted = targets.targets(result, "NVIDIA H200")
    assert wanted.get("of_axpy") == share
    assert ("speed_up_over_torchebm" in wanted) == (op == "plain")
    assert not targets.targets(result, "another card")
    assert not targets.targets(result | {"elements": 100}, "NVIDIA H200")


def test_figures_stand_beside_their_targets():
    result = {"op": "plain", "shape": "2x3", "dtype": "float32", "arms": {
        "ours": {"group": "ours", "ns_per_element": 0.0020},
        "add_": {"group": "pytorch", "ns_per_element": 0.0150},
        "compile": {"group": "compile", "ns_per_element": 0.0050},
        "torchebm": {"group": "torchebm", "missing": "ImportError: no"},
        "torchebm fused": {"group": "torchebm", "ns_per_element": 0.0019},
        "copy": {"group": "floor", "ns_per_element": 0.00125},
        "axpy": {"group": "floor", "ns_per_element": 0.0019},
    }}  # fmt: skip
    report.summarise(result)
    assert result["copy_gb_per_s"] == pytest.approx(6400)
    assert result["over_floor"] is None
    result["targets"] = {"of_axpy": 0.96, "speed_up": 8, "speed_up_over_torchebm": 1}
    (_, _, row) = report.bandwidth_table([result]).splitlines()
    assert row.split("  ")[-1].strip() == "0.95x < 1.00x"
    assert "  6400  95.0% < 96.0%  " in row
    assert "93.8%" in row
    assert "7.50x < 8.00x" in row
    assert "2.50x" in row


def test_launches_stand_beside_their_target():
    times = {"loop_us": 9.0, "graph_us": 2.6, "kernels_us": 2.0, "graph_nodes": 3.0}
    result = {"op": "plain", "shape": "2x3", "launches": {
        "ours": times, "add_": {"missing": "RuntimeError: no"}}}  # fmt: skip
    ours, other = report.launch_table([result]).splitlines()[2:]
    assert "1.3x > 1.2x" in ours
    assert other.split()[3:] == ["-"] * 5


class _CpuForCuda(torch.overrides.TorchFunctionMode):
    """What is asked of a GPU is done by the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        def here(value):
            return "cpu" if isinstance(value, str) and value == "cuda" else value

        return function(*map(here, args), **{k: here(v) for k, v in (kwargs or {}).items()})


class _Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.time = time.perf_counter()

    def elapsed_time(self, end):
        return 1000 * (end.time - self.time)


class _Graph:
    def replay(self):
        time.sleep(0.001)


@pytest.fixture
def stand_in_for_a_gpu(monkeypatch):
    generator = torch.Generator
    cuda = {
        "is_available": lambda: True,
        "get_device_name": lambda: "NVIDIA H200",
        "Event": _Event,
        "synchronize": lambda: None,
        "Stream": lambda: SimpleNamespace(wait_stream=lambda other: None),
        "current_stream": lambda: SimpleNamespace(wait_stream=lambda other: None),
        "stream": contextlib.nullcontext,
        "CUDAGraph": _Graph,
        "graph": contextlib.nullcontext,
    }
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "Generator", lambda _: generator())
    monkeypatch.setattr("launches._on_device", lambda run: [2.0, 1.0] * launches.STEPS)
    monkeypatch.setattr("launches._RUNS", 1)
    monkeypatch.setattr("timing._FLUSH_BYTES", 2**10)
    monkeypatch.setattr("kernels._LAUNCH_BOUND", 1024)
    monkeypatch.setattr(targets, "LARGE", 10_000)
    with _CpuForCuda():
        yield


@pytest.mark.usefixtures("stand_in_for_a_gpu")
def test_a_run_on_a_gpu(tmp_path):
    cases = ["--device", "cuda", "--shapes", "16x64,10x1000", "--ops", "plain,topk:0.1"]
    how = ["--no-compile", "--seconds", "0.001", "--out", str(tmp_path)]
    done = CliRunner().invoke(kernels.main, [*cases, *how])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "kernels.json").read_text())
    assert {"gpu", "cuda", "driver", "triton", "torchebm"} < set(found["environment"])
    small, large = found["results"][0], found["results"][-1]
    assert set(small["launches"]) == {"ours", "add_"}
    assert small["launches"]["ours"]["kernels_us"] == 3.0
    assert small["launches"]["ours"]["graph_nodes"] == 2.0
    assert small["targets"] == {}
    assert "launches" not in large
    assert large["targets"]["of_axpy"] == 0.8
    for result in found["results"]:
        timed = {name for name, arm in result["arms"].items() if "missing" not in arm}
        floors = {"copy", "axpy"} | ({"compress"} if result["op"] != "plain" else set())
        forms = {"add_"} if result["op"] == "plain" else {"scatter", "threshold", "kthvalue"}
        assert timed - {"torchebm"} == {"ours"} | floors | forms
        assert result["over_floor"] is None
        assert result["compress_of_copy_bandwidth"] or result["op"] == "plain"
    assert "bandwidth" in done.output
    assert "microseconds per step" in done.output
