"""Image data sets in files of their own formats, from small ones."""

import gzip
import struct

import numpy as np
import pytest
import torch

from effebm_ext.runs.data.dataset import load

RNG = np.random.default_rng(0)


def write_idx(path, images, *, magic=None, cut=0):
    magic = 0x0800 + images.ndim if magic is None else magic
    header = struct.pack(f">{1 + images.ndim}I", magic, *images.shape)
    content = header + images.tobytes()[: images.size - cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def check(dataset, pixels):
    assert dataset.is_image
    assert dataset.x.dtype == torch.float32
    assert torch.equal(dataset.x, torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1))


def records(*sizes):
    """Batches of CIFAR-10's records, with labels 0, 1, 2, ... in all."""
    batches = [RNG.integers(0, 256, (n, 3073), dtype=np.uint8) for n in sizes]
    labels = np.arange(sum(sizes), dtype=np.uint8)
    for batch, part in zip(batches, np.split(labels, np.cumsum(sizes)[:-1]), strict=True):
        batch[:, 0] = part
    return batches


def write_cifar10(folder, batches):
    folder.mkdir(parents=True, exist_ok=True)
    for number, batch in enumerate(batches, 1):
        (folder / f"data_batch_{number}.bin").write_bytes(batch.tobytes())


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("dot", "-.")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path, kind, dot, suffix):
    images = RNG.integers(0, 256, (5, 28, 27), dtype=np.uint8)
    write_idx(tmp_path / f"train-images{dot}idx3-ubyte{suffix}", images)
    dataset = load(f"{kind}:{tmp_path}")
    check(dataset, images[:, None])
    assert dataset.labels is None
    labels = np.array([3, 0, 2, 1, 1], np.uint8)
    write_idx(tmp_path / f"train-labels{dot}idx1-ubyte{suffix}", labels)
    dataset = load(f"{kind}:{tmp_path}", labels=True)
    check(dataset, images[:, None])
    assert torch.equal(dataset.labels, torch.from_numpy(labels).long())
    assert dataset.n_classes == 4


@pytest.mark.parametrize(
    ("kind", "below"),
    [("mnist", "raw"), ("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")],
)
def test_idx_files_where_torchvision_puts_them(tmp_path, kind, below):
    images = RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    for folder, pixels in (("other/raw", 255 - images), (below, images)):
        (tmp_path / folder).mkdir(parents=True)
        write_idx(tmp_path / folder / "train-images-idx3-ubyte", pixels)
        write_idx(tmp_path / folder / "train-labels-idx1-ubyte", np.array([1, 0, 1], np.uint8))
    dataset = load(f"{kind}:{tmp_path}", labels=True)
    check(dataset, images[:, None])
    assert dataset.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_emnist_files_lie_on_their_side(tmp_path, suffix):
    images = RNG.integers(0, 256, (3, 6, 5), dtype=np.uint8)
    write_idx(tmp_path / f"emnist-digits-train-images-idx3-ubyte{suffix}", images)
    for name, labels in (("digits", [1, 0, 1]), ("letters", [0, 1, 2])):
        path = tmp_path / f"emnist-{name}-train-labels-idx1-ubyte{suffix}"
        write_idx(path, np.array(labels, np.uint8))
    dataset = load(f"mnist:{tmp_path}", labels=True)
    check(dataset, images.swapaxes(1, 2)[:, None])
    assert dataset.changes == ("rows and columns swapped",)
    assert dataset.labels.tolist() == [1, 0, 1]


def test_labels_come_from_the_folder_of_the_images(tmp_path):
    (tmp_path / "raw").mkdir()
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8))
    write_idx(tmp_path / "raw" / "train-labels-idx1-ubyte", np.array([0, 1], np.uint8))
    with pytest.raises(FileNotFoundError, match=r"got raw/, train-images-idx3-ubyte$"):
        load(f"mnist:{tmp_path}", labels=True)


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_files(tmp_path, below):
    batches = records(3, 1, 2, 1, 1)
    write_cifar10(tmp_path / below, batches)
    dataset, whole = load(f"cifar10:{tmp_path}", labels=True), np.concatenate(batches)
    check(dataset, whole[:, 1:].reshape(-1, 3, 32, 32))
    assert dataset.labels.tolist() == list(range(8))


def test_the_home_folder_may_be_abbreviated(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_cifar10(tmp_path / "cifar", records(1, 1, 1, 1, 1))
    assert len(load("cifar10:~/cifar").x) == 5


PIXELS = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) * 36


def no_labels(folder):
    write_idx(folder / "train-images-idx3-ubyte", PIXELS)


def too_few_labels(folder):
    no_labels(folder)
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(1, np.uint8))


def images_for_labels(folder):
    no_labels(folder)
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(2, np.uint8), magic=0x0803)


@pytest.mark.parametrize(
    ("kind", "make", "error", "message"),
    [
        ("mnist", no_labels, FileNotFoundError, "expected train-labels-idx1-ubyte or .*gz in"),
        ("mnist", too_few_labels, ValueError, "expected 2 labels in .* got 1"),
        ("mnist", images_for_labels, ValueError, "is not an IDX file of labels"),
    ],
)
def test_labels_that_are_missing_or_damaged_are_named(tmp_path, kind, make, error, message):
    make(tmp_path)
    load(f"{kind}:{tmp_path}")
    with pytest.raises(error, match=message):
        load(f"{kind}:{tmp_path}", labels=True)


def damaged_magic(folder):
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((1, 2, 2), np.uint8), magic=0x0801)


def cut_short(folder):
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8), cut=1)


def half_record(folder):
    (folder / "data_batch_1.bin").write_bytes(bytes(3000))


def one_batch(folder):
    (folder / "data_batch_1.bin").write_bytes(bytes(3073))


def other_names(folder):
    (folder / "cifar-100-python").mkdir()
    (folder / "t10k-images-idx3-ubyte").touch()


def several_of_emnist(folder):
    for name in ("digits", "letters"):
        (folder / f"emnist-{name}-train-images-idx3-ubyte").touch()


def label_of_cifar100(folder):
    batches = records(1, 1, 1, 1, 1)
    batches[2][0, 0] = 10
    write_cifar10(folder, batches)


@pytest.mark.parametrize(
    ("kind", "make", "error", "message"),
    [
        ("mnist", None, FileNotFoundError,
         "expected train-images-idx3-ubyte or .*gz in .* below it in raw or MNIST/raw, got an emp"),
        ("mnist", other_names, FileNotFoundError,
         r"got cifar-100-python/, t10k-images-idx3-ubyte$"),
        ("mnist", several_of_emnist, ValueError,
         "expected one emnist-.* got emnist-digits-train-images-idx3-ubyte, emnist-letters-"),
        ("cifar10", label_of_cifar100, ValueError,
         r"expected labels 0 to 9 in .*data_batch_3\.bin, got 10 to 10"),
        ("mnist", damaged_magic, ValueError, "is not an IDX file of images"),
        ("mnist", cut_short, ValueError, "expected 2 x 2 x 2 bytes of images in .* got 7"),
        ("cifar10", None, FileNotFoundError, r"expected data_batch_1\.bin or data_batch_1 in"),
        ("cifar10", other_names, FileNotFoundError, "got cifar-100-python/, t10k-images"),
        ("cifar10", one_batch, FileNotFoundError, r"expected data_batch_2\.bin in"),
        ("cifar10", half_record, ValueError, "expected records of 3073 bytes .* got 3000"),
    ],
)  # fmt: skip
def test_what_is_missing_or_damaged_is_named(tmp_path, kind, make, error, message):
    if make is not None:
        make(tmp_path)
    with pytest.raises(error, match=message):
        load(f"{kind}:{tmp_path}")


def test_a_long_list_of_other_files_is_cut(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"got 00\.txt, .*, 11\.txt, \.\.\.$"):
        load(f"mnist:{tmp_path}")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:10] + b"\x07" + content[11:],  # no such kind of block
        lambda content: content[:-9],
        lambda content: content[: len(content) // 2],
        lambda content: content[:3],
        lambda content: content[:-8] + bytes(4) + content[-4:],  # another sum
        lambda content: b"<html>404 Not Found</html>",
    ],
    ids=["stream", "cut", "half", "beginning", "sum", "html"],
)
@pytest.mark.parametrize("what", ["images", "labels"])
def test_a_damaged_gzip_file_is_named(tmp_path, damage, what):
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", PIXELS)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.array([0, 1], np.uint8))
    path = next(tmp_path.glob(f"train-{what}-*"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"data: {path} is not a whole gzip file: "):
        load(f"mnist:{tmp_path}", labels=True)


def test_unknown_folders_and_names(tmp_path):
    for kind in ("mnist", "fashion-mnist", "cifar10", "images"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            load(f"{kind}:{tmp_path / 'x'}")
    with pytest.raises(ValueError, match="cifar10:FOLDER"):
        load(f"imagenet:{tmp_path}")
