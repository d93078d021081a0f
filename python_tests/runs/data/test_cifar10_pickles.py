"""CIFAR-10's Python version is read, and nothing that its pickles ask for is run."""

import pickle
import struct

import numpy as np
import pytest
import torch

from effebm_ext.runs.data.dataset import load

RNG = np.random.default_rng(0)


def of_python_2(pixels, labels):
    """A pickle as those that are distributed: by Python 2 and by protocol 2, with the old names of
    NumPy's modules and strings that are bytes."""

    def text(content):
        return b"T" + struct.pack("<i", len(content)) + content

    def number(value):
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + number(0) + b"\x85"
        + text(b"b") + b"\x87R(" + number(1) + b"".join(map(number, pixels.shape)) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R("
        + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
        + b"\x89" + text(pixels.tobytes()) + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."


def of_python_3(pixels, labels, protocol=4):
    return pickle.dumps({"data": pixels, "labels": labels, "filenames": ["a.png"]}, protocol)


def write(folder, contents):
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents, 1):
        (folder / f"data_batch_{number}").write_bytes(content)


def batches():
    pixels = RNG.integers(0, 256, (5, 2, 3072), dtype=np.uint8)
    return list(zip(pixels, [[2 * i, 2 * i + 1] for i in range(5)], strict=True))


@pytest.mark.parametrize("pickled", [of_python_2, of_python_3])
@pytest.mark.parametrize("below", [".", "cifar-10-batches-py"])
def test_the_python_version_is_read(tmp_path, pickled, below):
    given = batches()
    write(tmp_path / below, [pickled(*batch) for batch in given])
    dataset = load(f"cifar10:{tmp_path}", labels=True)
    want = np.concatenate([pixels for pixels, _ in given]).reshape(-1, 3, 32, 32)
    assert torch.equal(dataset.x, torch.from_numpy(want).float() / 127.5 - 1)
    assert dataset.labels.tolist() == list(range(10))


def test_the_pickle_of_python_2_is_one_that_numpy_reads():
    pixels, labels = batches()[0]
    content = pickle.loads(of_python_2(pixels, labels), encoding="bytes")
    assert np.array_equal(content[b"data"], pixels)
    assert content[b"labels"] == labels


class Evil:
    def __init__(self, call, *arguments):
        self.state = call, arguments

    def __reduce__(self):
        return self.state


@pytest.mark.parametrize("where", ["whole", "data", "labels", "more"])
def test_nothing_is_run(tmp_path, where):
    evil = Evil(open, str(tmp_path / "run"), "w")
    pixels, labels = batches()[0]
    content = {"data": pixels, "labels": labels}
    content = evil if where == "whole" else content | {where: evil}
    write(tmp_path, [pickle.dumps(content)] * 5)
    with pytest.raises(
        ValueError, match=r"data_batch_1 is not a batch of CIFAR-10: it asks for .*open"
    ):
        load(f"cifar10:{tmp_path}")
    assert not (tmp_path / "run").exists()


PIXELS, LABELS = batches()[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a batch of CIFAR-10"),
        (of_python_3(PIXELS, LABELS)[:-200], "is not a batch of CIFAR-10"),
        (pickle.dumps([1, 2]), "is not a batch of CIFAR-10"),
        (pickle.dumps({"data": PIXELS}), "is not a batch of CIFAR-10: 'labels'"),
        (of_python_3(PIXELS[:, :9], LABELS), r"of type uint8 and shape \(n, 3072\)"),
        (of_python_3(PIXELS.astype(int), LABELS), r"of type uint8 and shape \(n, 3072\)"),
        (of_python_3(np.asfortranarray(PIXELS), LABELS), "of type uint8 and shape"),
        (of_python_3(PIXELS, [1]), "no 2 integers as labels"),
        (of_python_3(PIXELS, ["1", "2"]), "no 2 integers as labels"),
        (of_python_3(PIXELS, [1, 10]), "expected labels 0 to 9 in .*, got 1 to 10"),
        (of_python_3(PIXELS, [-1, 1]), "expected labels 0 to 9 in .*, got -1 to 1"),
        (of_python_2(PIXELS, LABELS).replace(b"u1", b"O8"), "of type uint8 and shape"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, message):
    write(tmp_path, [content] * 5)
    with pytest.raises(ValueError, match=message):
        load(f"cifar10:{tmp_path}")
