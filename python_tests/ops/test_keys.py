"""Keys as objects: what makes two of them equal, how they are stored, compiled and shared."""

import copy
import dataclasses
import io
import pickle
import sys
import threading
import time

import pytest
import torch

import effebm_ext as eff
from effebm_ext import reference
from effebm_ext.rng import key_arguments

LARGE = 2**63 + 5
KEY = eff.Key(LARGE, offset=7, first_chain=3)
X = torch.zeros(4, 9)
# By a version of the library whose keys had nothing but their fields.
STORED = (
    b"\x80\x04\x95O\x00\x00\x00\x00\x00\x00\x00\x8c\x0eeffebm_ext.rng\x94\x8c\x03Key\x94\x93\x94)"
    b"\x81\x94}\x94(\x8c\x04seed\x94\x8a\t\x05\x00\x00\x00\x00\x00\x00\x80\x00\x8c\x06offset\x94"
    b"K\x07\x8c\x0bfirst_chain\x94K\x03ub."
)


def noise(key, rows=4):
    return eff.langevin_step(X[:rows], X[:rows], 0, noise_std=1, rng=key)


def stored(key):
    file = io.BytesIO()
    torch.save(key, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, dataclasses.replace, stored,
     lambda key: pickle.loads(pickle.dumps(key)), lambda key: pickle.loads(STORED),
     lambda key: eff.Key(**dataclasses.asdict(key)), lambda key: key.at(-5).at(5)],
    ids=["copy", "deepcopy", "replace", "torch.save", "pickle", "old pickle", "asdict", "at"],
)  # fmt: skip
def test_a_copy_of_a_key_is_that_key(again):
    other = again(KEY)
    assert other == KEY
    assert hash(other) == hash(KEY)
    assert repr(other) == "Key(seed=9223372036854775813, offset=7, first_chain=3)"
    assert torch.equal(noise(other), noise(KEY))
    assert pickle.dumps(other, 4) == STORED


def test_a_signed_seed_has_the_same_noise_but_is_another_key():
    assert eff.Key(-1) != eff.Key(2**64 - 1)
    assert torch.equal(noise(eff.Key(-1)), noise(eff.Key(2**64 - 1)))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_steps_take_seeds_of_every_size(backend):
    @torch.compile(fullgraph=True, backend=backend)
    def step(x, key, index):
        x = eff.langevin_step(x, x, 0.1, rng=key)
        return eff.langevin_step(x, x, 0.1, rng=key.at(index))

    for index, seed in enumerate([7, LARGE, LARGE + 1, 2**64 - 1, -3, 2**63 - 1, -(2**63)]):
        want = eff.langevin_step(X, X, 0.1, rng=eff.Key(seed))
        want = eff.langevin_step(want, want, 0.1, rng=eff.Key(seed, index))
        assert torch.equal(step(X, eff.Key(seed), index), want)
    assert torch.equal(noise(eff.Key(LARGE)), reference.normals(4, 9, LARGE))


@pytest.mark.parametrize(
    "chains",
    [torch.export.Dim("n", max=2**32 - KEY.first_chain), torch.export.Dim.AUTO],
    ids=["named", "auto"],
)
def test_a_step_with_a_key_is_exported_for_any_number_of_chains(chains):
    class Step(torch.nn.Module):
        def forward(self, x):
            return eff.langevin_step(x, x, 0.1, rng=KEY)

    program = torch.export.export(Step(), (X,), dynamic_shapes=({0: chains},)).module()
    assert torch.equal(program(X[:2]), eff.langevin_step(X[:2], X[:2], 0.1, rng=KEY))


def test_threads_may_use_many_seeds_at_once():
    failed = []
    end = time.monotonic() + 2

    def work(first):
        seed = first
        try:
            while time.monotonic() < end:
                key, _, _ = key_arguments(eff.Key(seed), X)
                assert key.tolist() == [seed, 0]
                seed += 1
        except Exception as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(n * 10**9,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []
