import re
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from effebm_ext.runs.data.dataset import TOYS, Dataset, load

UNIT = np.array([[-1.0, 1.0], [1.0, -1.0]] * 2)  # of standard deviation one


def test_digits_are_real_images_in_range():
    data = load("digits")
    assert data.x.shape == (1797, 1, 8, 8)
    assert data.x.dtype == torch.float32
    assert (data.x.min(), data.x.max()) == (-1.0, 1.0)
    assert data.is_image
    assert data.event_shape == (1, 8, 8)


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_reproducible_and_of_about_unit_scale(name):
    first, again, other = load(name, seed=1).x, load(name, seed=1).x, load(name, seed=2).x
    assert first.shape == (10_000, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.4 < first.std() < 1.5
    assert first.mean(0).abs().max() < 0.1


def test_eight_gaussians_lie_where_they_are_said_to():
    x = load("eight-gaussians").x
    angle = torch.atan2(x[:, 1], x[:, 0]) / (torch.pi / 4)
    centres = torch.stack(
        [torch.cos(angle.round() * torch.pi / 4), torch.sin(angle.round() * torch.pi / 4)], 1
    )
    assert (x - 1.5 * centres).std() == pytest.approx(0.1, rel=0.05)
    assert len(angle.round().remainder(8).unique()) == 8


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_are_read_as_they_are(tmp_path, suffix):
    array = np.arange(-2, 22, dtype=np.int16).reshape(2, 3, 2, 2) % 11 - 5
    path = tmp_path / f"mine{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, x=array, y=array[:1])
    data = load(str(path))
    assert np.array_equal(data.x.numpy(), array)
    assert data.is_image
    assert data.name == "mine"


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an array", "is not a readable .npy file"),
        (b"", "is not a readable .npy file"),
        (np.zeros(5), r"expected an array \(n, \*event\).* got shape \(5,\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
        (np.zeros((3, 0)), r"got shape \(3, 0\)"),
        (np.array([["a", "b"]]), "expected numbers in .* got dtype <U1"),
        (np.zeros((2, 2), complex), "expected numbers in .* got dtype complex128"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "expected finite values in .* got 2 that"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "bad.npy", content))


def test_truncated_archives_are_refused(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, x=np.zeros((50, 50)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is not a readable \.npz file"):
        load(str(path))


def test_pickled_arrays_are_not_executed(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is not a readable"):
        load(str(path))


def test_unknown_names_missing_files_and_ambiguous_archives(tmp_path):
    with pytest.raises(ValueError, match=r"data: expected digits, .* got 'digit'"):
        load("digit")
    with pytest.raises(FileNotFoundError, match="data: no such file"):
        load(str(tmp_path / "none.npy"))
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"one named x, got \['a', 'b'\]"):
        load(str(tmp_path / "two.npz"))


def test_labels_of_digits_and_toys():
    digits = load("digits")
    assert digits.labels.dtype == torch.int64
    assert digits.n_classes == 10
    assert digits.labels[:12].tolist() == [*range(10), 0, 1]
    for name, modes in (("eight-gaussians", 8), ("two-moons", 2), ("rings", 2)):
        data = load(name)
        assert data.labels.dtype == torch.int64
        assert torch.allclose(data.labels.bincount() / 10_000, torch.tensor(1 / modes), atol=0.02)
    data = load("eight-gaussians")
    mode = (torch.atan2(data.x[:, 1], data.x[:, 0]) / (torch.pi / 4)).round().long() % 8
    assert torch.equal(mode, data.labels)
    data = load("rings")
    assert torch.equal((data.x.norm(dim=1) > 1.125).long(), data.labels)
    data = load("two-moons")
    assert data.x[data.labels == 1, 1].mean() > 0.3 > -0.3 > data.x[data.labels == 0, 1].mean()


def test_labels_stay_with_their_rows_in_a_split():
    data = load("rings")
    for part in data.split(0.3, seed=0):
        assert torch.equal((part.x.norm(dim=1) > 1.125).long(), part.labels)


def test_the_draws_of_the_toys_stay_as_they_are():
    sums = [float(load(name, seed=5).x.double().square().sum()) for name in TOYS]
    assert sums == pytest.approx([22702.30269473, 10161.78574559, 14112.54324977], rel=1e-9)


def test_labels_of_files(tmp_path):
    x, path = UNIT, tmp_path / "mine.npz"
    np.savez(path, x=x, y=np.array([1, 0, 2, 1], np.uint8))
    assert load(str(path)).labels is None
    assert torch.equal(load(str(path), labels=True).labels, torch.tensor([1, 0, 2, 1]))


SAME = "expected labels 0 to K - 1 in .*, as a class without data cannot be learnt, got "


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "expected labels in .*: a .npz file with an array named y"),
        (np.zeros(4), r"integer labels y of shape \(4,\) in .* got float64 of shape \(4,\)"),
        (np.zeros((4, 1), int), r"got int64 of shape \(4, 1\)"),
        (np.array([1, 2, 3, 4]), SAME + "4 different from 1 to 4"),
        (np.array([0, 0, 3, 3]), SAME + "2 different from 0 to 3"),
        (np.array([-1, 0, 1, 1]), SAME + "3 different from -1 to 1"),
    ],
)
def test_bad_labels_are_refused(tmp_path, labels, message):
    path = tmp_path / "bad.npz"
    np.savez(path, x=UNIT, **({} if labels is None else {"y": labels}))
    load(str(path))
    with pytest.raises(ValueError, match=message):
        load(str(path), labels=True)


def write_labels(folder, kind, labels):
    """Data of this kind with these labels, uint8 ``(5,)``; the source of :func:`load`."""
    pixels = np.arange(5 * 3072, dtype=np.uint32).astype(np.uint8).reshape(5, 3072)
    if kind == "npz":
        np.savez(folder / "mine.npz", x=pixels / 127.5 - 1, y=labels)
        return str(folder / "mine.npz")
    if kind == "cifar10":
        for number, record in enumerate(np.concatenate([labels[:, None], pixels], axis=1), 1):
            (folder / f"data_batch_{number}.bin").write_bytes(record.tobytes())
    else:
        header = struct.pack(">4I", 0x0803, 5, 64, 48)
        (folder / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = struct.pack(">2I", 0x0801, 5)
        (folder / "train-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return f"{kind}:{folder}"


@pytest.mark.parametrize("kind", ["npz", "mnist", "fashion-mnist", "cifar10"])
def test_labels_of_every_format_follow_one_rule(tmp_path, kind):
    labels = np.array([2, 0, 1, 1, 0], np.uint8)
    data = load(write_labels(tmp_path, kind, labels), labels=True)
    assert data.labels.tolist() == labels.tolist()
    assert data.n_classes == 3
    for labels, message in (
        ([1, 2, 3, 4, 5], "5 different from 1 to 5"),
        ([3, 7, 3, 3, 7], "2 different from 3 to 7"),
        ([0, 1, 9, 1, 0], "3 different from 0 to 9"),
        ([1, 1, 1, 1, 1], "1 different from 1 to 1"),
    ):
        source = write_labels(tmp_path, kind, np.array(labels, np.uint8))
        assert load(source).n_classes is None
        with pytest.raises(ValueError, match=SAME + message):
            load(source, labels=True)


def test_parts_of_a_data_set_have_all_of_its_classes():
    data = Dataset("d", torch.zeros(4, 1), False, torch.tensor([0, 1, 2, 3]))
    for part in data.split(0.5, seed=0):
        assert len(part.x) == 2
        assert part.n_classes == 4
    assert [part.n_classes for part in data.split(0, seed=0)] == [4, 4]


@pytest.mark.parametrize(
    ("labels", "n_classes", "message"),
    [
        (
            torch.zeros(2, dtype=torch.int64),
            None,
            r"int64 of shape \(3,\), got .*64 of shape \(2,\)",
        ),
        (torch.zeros(3), None, r"labels: expected int64 of shape \(3,\), got torch.float32 of"),
        (torch.tensor([0, 2, 2]), None, SAME + "2 different from 0 to 2"),
        (torch.tensor([0, 2, 2]), 2, "labels: expected 0 to 1, got 0 to 2"),
        (torch.tensor([0, -1, 0]), 2, "labels: expected 0 to 1, got -1 to 0"),
    ],
)
def test_labels_that_do_not_suit_a_dataset(labels, n_classes, message):
    with pytest.raises(ValueError, match=message):
        Dataset("d", torch.zeros(3, 1), False, labels, n_classes)


def test_numbers_of_every_kind_are_seeds_and_shares():
    data = load("rings", seed=3)
    for seed in (np.int64(3), np.uint8(3), torch.tensor(3)):
        assert load("rings", seed=seed).digest() == data.digest()
        assert data.split(np.float64(0.3), seed=seed)[0].digest() == (
            data.split(0.3, seed=3)[0].digest()
        )
    for wrong in (1.5, True, "3", None):
        with pytest.raises(TypeError, match="seed: expected an int"):
            load("rings", seed=wrong)
        with pytest.raises(TypeError, match="seed: expected an int"):
            data.split(0.3, seed=wrong)
    with pytest.raises(TypeError, match="holdout: expected a number"):
        data.split("0.3", seed=0)
    with pytest.raises(ValueError, match="holdout: expected 0 <= holdout < 1, got nan"):
        data.split(np.float32("nan"), seed=0)


PIXELS = np.arange(4 * 192, dtype=np.uint32).astype(np.uint8)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (PIXELS.reshape(4, 3, 8, 8).astype(np.float64), "73.9"),
        (UNIT * 1e6, "1e+06"),
        (UNIT * 1e-6, "1e-06"),
        (UNIT * [1e4, 1e-3], "7.07e+03"),
        (UNIT * 1e38, "1e+38"),
        (np.ones((4, 2)), "0"),
    ],
    ids=["pixels", "large", "small", "columns", "huge", "constant"],
)
def test_a_scale_far_from_one_is_said(tmp_path, array, got):
    source = write(tmp_path / "x.npy", array)
    message = re.escape(f"expected values of standard deviation about 1, got {got}: scale them")
    with pytest.warns(UserWarning, match=message) as said:
        assert np.array_equal(load(source).x, array.astype(np.float32))
    assert len(said) == 1
    assert said[0].filename == __file__


def test_images_that_use_little_of_their_depth_are_said(tmp_path):
    dark = PIXELS[:64].astype(np.uint16).reshape(8, 8)
    message = r"standard deviation about 1, got 0.000564: scale them \(by \(x - x.mean"
    for pixels in (dark, 65535 - dark):
        Image.fromarray(pixels).save(tmp_path / "0.png")
        with pytest.warns(UserWarning, match=message):
            load(f"images:{tmp_path}")


@pytest.mark.parametrize("event", [(8, 8, 4), (8, 8), (4, 8, 8), (10, 2), (2, 2, 2, 2)])
def test_axes_that_are_no_image_are_said(tmp_path, event):
    x = np.resize([-1.0, 1.0], (4, *event))
    with pytest.warns(UserWarning, match="are taken for vectors; images have") as said:
        data = load(write(tmp_path / "x.npy", x))
    assert len(said) == 1
    assert str(event) in said[0].message.args[0]
    assert not data.is_image
    assert data.event_shape == event


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("event", [(2,), (1, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("std", [0.25, 1.0, 4.5])
def test_nothing_is_said_of_other_arrays(tmp_path, event, std):
    x = std * np.resize([-1.0, 1.0], (4, *event))
    assert load(write(tmp_path / "x.npy", x)).is_image == (len(event) == 3)


@pytest.mark.filterwarnings("error")
def test_pixels_are_scaled_and_said(tmp_path):
    data = load(write(tmp_path / "x.npy", PIXELS.reshape(4, 3, 8, 8)))
    assert torch.equal(data.x, torch.from_numpy(PIXELS).float().reshape(4, 3, 8, 8) / 127.5 - 1)
    assert (float(data.x.min()), float(data.x.max())) == (-1, 1)
    assert data.is_image
    assert data.changes == ("scaled from 0 to 255",)


@pytest.mark.filterwarnings("error")
def test_pixels_of_vectors_are_scaled_too(tmp_path):
    data = load(write(tmp_path / "x.npy", PIXELS.reshape(4, 192)))
    assert (data.event_shape, data.is_image) == ((192,), False)
    assert data.changes == ("scaled from 0 to 255",)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("event", [(9, 8, 3), (9, 8, 1), (1, 8, 3), (3, 8, 1), (3, 5, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_on_the_last_axis_are_moved(tmp_path, event, dtype):
    array = np.resize(np.array([0, 1, 1], dtype), (4, *event))
    data = load(write(tmp_path / "x.npy", array))
    is_last = event[0] not in (1, 3)
    want = array.transpose(0, 3, 1, 2) if is_last else array
    assert np.array_equal(data.x.numpy(), want)
    assert data.x.is_contiguous()
    assert data.is_image
    assert data.changes == ("channels moved from the last axis to the first",) * is_last


@pytest.mark.filterwarnings("error")
def test_grey_pixels_get_an_axis_of_channels(tmp_path):
    data = load(write(tmp_path / "x.npy", PIXELS.reshape(12, 8, 8)))
    assert (data.x.shape, data.is_image) == ((12, 1, 8, 8), True)
    assert data.changes == ("scaled from 0 to 255", "an axis of one channel added")
    assert data.split(0.5, seed=0)[0].changes == data.changes


@pytest.mark.filterwarnings("error")
def test_binary_values_of_type_uint8_stay_as_they_are(tmp_path):
    x = np.resize(np.array([0, 1], np.uint8), (4, 6))
    assert set(load(write(tmp_path / "x.npy", x)).x.unique().tolist()) == {0.0, 1.0}
