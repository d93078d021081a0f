"""Rows that are kept as they are stored stand for a float32 tensor."""

import pytest
import torch

import effebm_ext.rows
from effebm_ext.rows import StoredRows, pieces, pixels

VALUES = torch.randint(0, 256, (40, 3, 4, 5), generator=torch.Generator().manual_seed(0)).byte()
SCALED = VALUES.float() / 127.5 - 1
ORDER = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:30]
CASES = {
    "numbers": (StoredRows(SCALED), SCALED),
    "pixels": (pixels(VALUES), SCALED),
    "unscaled": (pixels(VALUES, scaled=False), VALUES.float()),
    "some": (StoredRows(SCALED, index=ORDER), SCALED[ORDER]),
    "some of some": (pixels(VALUES).select(ORDER).select(torch.arange(3, 9)), SCALED[ORDER][3:9]),
    "channels last": (pixels(VALUES.movedim(1, 3)), SCALED.movedim(1, 3).contiguous()),
}


def test_each_value_of_a_pixel_is_its_number_to_the_bit():
    values = torch.arange(256).byte()[:, None]
    assert torch.equal(pixels(values)[:], values.float() / 127.5 - 1)


@pytest.mark.parametrize("name", CASES)
def test_they_are_indexed_as_the_tensor(name):
    rows, x = CASES[name]
    assert len(rows) == len(x)
    assert rows.shape == x.shape
    assert rows.device == x.device
    for key in (
        2,
        -1,
        slice(None),
        slice(1, 4),
        slice(0, 0),
        torch.tensor([4, 0, 4]),
        x[:, 0, 0, 0] > 0,
    ):
        assert rows[key].dtype == torch.float32
        assert torch.equal(rows[key], x[key])
    assert torch.equal(torch.cat(list(pieces(rows))), x)


@pytest.mark.parametrize("name", CASES)
def test_statistics_of_one_piece_are_those_of_the_tensor(name):
    rows, x = CASES[name]
    for found, want in (
        (rows.mean(), x.mean()),
        (rows.std(correction=0), x.std(correction=0)),
        (rows.min(), x.min()),
        (rows.max(), x.max()),
    ):
        assert (found.dtype, found.shape) == (torch.float32, ())
        assert torch.equal(found, want)
    torch.testing.assert_close(rows.std(), x.std())


@pytest.mark.parametrize("size", [1, 60, 150, 700])
def test_statistics_of_many_pieces(monkeypatch, size):
    monkeypatch.setattr(effebm_ext.rows, "_PIECE", size)
    rows, x = pixels(VALUES), SCALED.double()
    assert len(list(pieces(rows))) == -(-40 // max(1, size // 60))
    found = [rows.mean(), rows.std(correction=0), rows.std(), rows.min(), rows.max()]
    want = [x.mean(), x.std(correction=0), x.std(), x.min(), x.max()]
    torch.testing.assert_close(torch.stack(found), torch.stack(want).float())


def test_a_part_of_numbers_is_no_copy():
    part = StoredRows(SCALED).select(ORDER)
    assert part.values.data_ptr() == SCALED.data_ptr()
    assert part.to("cpu").values.data_ptr() == SCALED.data_ptr()


def test_one_number_has_no_standard_deviation():
    assert StoredRows(torch.ones(1, 1)).std().isnan()
    assert StoredRows(torch.ones(1, 1)).std(correction=0) == 0
