"""The device of the tests itself: what kernels may touch, and what becomes of faults."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from calls import values
from device import Device, on_device, ptx_device
from ptx_simulator import PtxError

import effebm_ext as eff


def test_faults_are_errors_of_the_op() -> None:
    x, allocate = values(2, 20_000, torch.float32), Device.allocate
    too_small = mock.patch.object(Device, "allocate", lambda device, _: allocate(device, 16))
    with too_small, ptx_device(), pytest.raises(PtxError, match="out of bounds"):
        eff.topk_compress(x, 2)


def test_tensors_that_an_op_has_to_copy_are_refused() -> None:
    grad = values(64, 8, torch.float32).t()  # the kernels read a copy that nobody knows
    with ptx_device(), pytest.raises(ValueError, match="grad is not contiguous"):
        eff.drift(grad)


def test_inputs_are_read_only_and_workspaces_have_bounds() -> None:
    x = on_device(values(2, 1030, torch.float32))
    with ptx_device() as device:
        eff.RandomK(ratio=0.3).compress(x)
    buffers = device.launches[0].buffers
    assert {name: array.flags.writeable for name, array in buffers.items()} == {
        "x": False, "key": False, "out": True, "workspace": True,
    }  # fmt: skip
    assert buffers["x"].ctypes.data == x.data_ptr()
    assert buffers["workspace"].nbytes == 16  # a cutoff of eight bytes per row


def test_what_an_op_writes_may_be_written() -> None:
    x, grad = (on_device(values(2, 8, torch.bfloat16, seed)) for seed in (0, 1))
    with ptx_device() as device:
        eff.langevin_step_(x, grad, 0.1)
    (launch,) = device.launches
    writable = [name for name, array in launch.buffers.items() if array.flags.writeable]
    assert writable == ["x"]


def test_afterwards_the_cpu_kernels_are_back() -> None:
    x = values(2, 8, torch.float32)
    with ptx_device() as device:
        made = eff.topk_compress(x, 2)
    assert torch.equal(eff.topk_compress(x, 2), made)
    assert len(device.launches) == 1
