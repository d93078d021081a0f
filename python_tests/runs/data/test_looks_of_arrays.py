"""Arrays that look like something else than what they would be taken for."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from effebm_ext.runs.data.dataset import load

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3, 8, 8))


def write(path, array, **more):
    np.savez(path, x=array, **more) if more else np.save(path, array)
    return str(path)


@pytest.mark.parametrize("event", [(1, 8, 8), (8, 8, 3), (8, 8)])
def test_float_pixels_in_zero_to_one_are_said(tmp_path, event):
    x = RNG.random((6, *event), dtype=np.float32)
    with pytest.warns(UserWarning, match=r"these look like pixels in 0 to 1: save 2 \* x - 1"):
        load(write(tmp_path / "x.npy", x))
    with pytest.warns(UserWarning, match="these look like pixels in 0 to 1"):
        load(write(tmp_path / "dark.npy", x / 4))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("low", "high"), [(128, 256), (100, 140), (0, 30)])
def test_pixels_that_were_scaled_may_have_any_look(tmp_path, low, high):
    x = RNG.integers(low, high, (6, 8, 8), dtype=np.uint8)
    for number, pixels in enumerate(x):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    assert torch.equal(load(write(tmp_path / "x.npy", x)).x, load(f"images:{tmp_path}").x)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        ((PIXELS > 250).astype(np.uint8), r"\(pixels of 0 to 1 by x / 0.5 - 1\)"),
        (PIXELS / 1.0, r"\(pixels of 0 to 255 by x / 127.5 - 1\)"),
        (PIXELS.astype(np.uint16) * 257, r"\(pixels of 0 to 65535 by x / 32767.5 - 1\)"),
        (PIXELS * 1e5, r"\(by \(x - x.mean\(\)\) / x.std\(\)\)"),
        (PIXELS / 1e4 - 0.01, r"\(by \(x - x.mean\(\)\) / x.std\(\)\)"),
    ],
)
def test_the_advice_fits_the_greatest_pixel(tmp_path, array, advice):
    with pytest.warns(UserWarning, match=advice):
        load(write(tmp_path / "x.npy", array))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [lambda x: x - 0.1, lambda x: 1.1 * x, lambda x: x.round()])
def test_other_float_images_are_not_taken_for_these_pixels(tmp_path, change):
    x = RNG.random((6, 1, 8, 8), dtype=np.float32)
    x.flat[:2] = 0, 1
    load(write(tmp_path / "x.npy", change(x)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.int64, ">i4"])
@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 192), (18, 8, 8)])
def test_integers_from_0_to_255_are_pixels(tmp_path, dtype, shape):
    array = PIXELS.reshape(shape)
    found = load(write(tmp_path / "x.npy", array.astype(dtype)))
    want = load(write(tmp_path / "y.npy", array.astype(np.uint8)))
    assert found.digest() == want.digest()
    assert found.changes == want.changes
    assert found.changes[0] == "scaled from 0 to 255"
    assert found.rows.values.dtype == torch.uint8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("low", "high"), [(-1, 200), (0, 256), (0, 127)])
def test_other_integers_stay_as_they_are(tmp_path, low, high):
    array = np.resize([low, high, 3], (4, 3, 8, 8))
    assert np.array_equal(load(write(tmp_path / "x.npy", array)).x, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize(("event", "cure"), [((8, 8, 4), "[..., :3]"), ((4, 8, 8), "[:, :3]")])
def test_pixels_with_transparency_are_refused(tmp_path, event, cure, dtype):
    array = np.resize(PIXELS, (5, *event)).astype(dtype)
    message = re.escape(f"got shape {array.shape} in {tmp_path / 'x.npy'}: x{cure} drops the alpha")
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "x.npy", array))


def test_numbers_with_four_channels_are_said(tmp_path):
    with pytest.warns(UserWarning, match=r"x\[..., :3\] drops the alpha channel"):
        load(write(tmp_path / "x.npy", np.resize([-1.0, 1.0], (4, 8, 8, 4))))


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 9, 4)])
def test_one_picture_is_refused(tmp_path, shape):
    array = np.resize(PIXELS, shape).astype(np.uint8)
    with pytest.raises(ValueError, match="it looks like one picture; numpy"):
        load(write(tmp_path / "x.npy", array))


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ([1e4, 1e-3], "points by (x - x.mean(0)) / x.std(0); the standard deviations of their "
                      "columns are 0.001 to 1e+04) and save them as .npy"),
        ([100, 0], "x.std(0), without the columns that are constant; the"),
    ],
)  # fmt: skip
def test_points_are_told_how_to_scale_them(tmp_path, monkeypatch, scales, said):
    monkeypatch.setattr("effebm_ext.rows._PIECE", 3)
    x = np.array([[-1.0, 1.0], [1.0, -1.0]] * 3) * scales
    with pytest.warns(UserWarning, match=re.escape(said)):
        load(write(tmp_path / "x.npy", x))


def test_labels_are_not_lost_with_the_advice(tmp_path):
    source = write(tmp_path / "x.npz", 100 * RNG.random((6, 2)), y=np.arange(6) % 2)
    with pytest.warns(UserWarning, match="save them as .npz with its labels"):
        load(source, labels=True)
    with pytest.warns(UserWarning, match="save them as .npz with its labels"):
        load(source)
