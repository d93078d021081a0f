"""Keys name the noise that a step adds.

The noise of an element depends only on (seed, offset, chain, index in the chain), never on the
device, the number of threads or how chains are split into batches (docs/numerics.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import torch
from torch import Tensor

from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call
from effebm_ext.transforms import is_transformed

# Purposes of the contract. The ops use noise, 0, besides.
COMPRESSION, ACCEPTANCE, RESAMPLING, ROUNDING, STORAGE = 1, 2, 3, 5, 6
_MAX_OFFSET = 2**56
_MAX_CHAINS = 2**32


@dataclasses.dataclass(frozen=True)
class Key:
    """Names a stream of noise, which is the same on every device.

    Args:
        seed: any 64-bit integer, signed or unsigned.
        offset: position in the stream, ``0 <= offset < 2**56``; samplers use the step number.
        first_chain: global number of row 0, ``0 <= first_chain < 2**32``. A batch that holds
            chains 1000 to 1999 of a larger set passes ``first_chain=1000`` and gets their noise.

    A key does not change by being used: two steps with the same key add the same noise. Advance it
    with :meth:`at`::

        for step in range(1000):
            eff.langevin_step_(x, grad(x), 1e-2, rng=key.at(step))

    Integers of NumPy and integer tensors without axes are taken like Python's. ``torch.export`` of
    a step with a key, for any number n of chains, needs ``Dim("n", max=2**32 - first_chain)``.
    Under ``torch.compile`` make a key of a seed of 2**63 or more outside the compiled function.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of its range.
    """

    seed: int
    offset: int = 0
    first_chain: int = 0

    __repr__ = as_call

    def __post_init__(self) -> None:
        ranges = {
            "seed": (-(2**63), 2**64),
            "offset": (0, _MAX_OFFSET),
            "first_chain": (0, _MAX_CHAINS),
        }
        for name, (low, high) in ranges.items():
            value = as_int(getattr(self, name), name)
            if not low <= value < high:
                raise ValueError(f"{name}: expected {low} <= {name} < {high}, got {value}")
            object.__setattr__(self, name, value)
        # The seed as an int64 tensor holds it; not a field. A compiled graph cannot compute it, as
        # 2**64 is no 64-bit integer.
        object.__setattr__(self, "_signed_seed", _signed(self.seed))

    def __getstate__(self) -> dict[str, int]:
        return dataclasses.asdict(self)  # the fields only

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _signed_seed=_signed(state["seed"]))

    def at(self, step: int) -> Key:
        """Returns the key ``step`` positions further on in the same stream."""
        if type(step) is not int:
            step = as_int(step, "step")
        offset = self.offset + step
        # torch.compile of torch 2.11 cannot trace the faster way below.
        if torch.compiler.is_compiling() or not 0 <= offset < _MAX_OFFSET:
            key = Key(self.seed, offset, self.first_chain)
            object.__setattr__(key, "_signed_seed", self.__dict__["_signed_seed"])
            return key
        key = object.__new__(type(self))  # skips the checks, as only the offset has changed
        key.__dict__.update(self.__dict__, offset=offset)
        return key


class DeviceKey(Key):
    """Names a stream whose seed and position lie on a device and are read when a step runs there:
    a CUDA graph, whose numbers are those of its capture, can go on in a stream. :meth:`at` counts
    from the position.

    Args:
        device: the device of the chains.
        first_chain: as in :class:`Key`.
    """

    words: Tensor  # seed and position, as the ops take them; not a field

    def __init__(self, device: torch.device, first_chain: int = 0) -> None:
        super().__init__(0, 0, first_chain)
        words = torch.zeros(2, dtype=torch.int64, device=device)
        object.__setattr__(self, "words", words)

    def put_(self, key: Key) -> None:
        """Puts the key at the seed and the offset of another one."""
        self.words[:1].fill_(key.__dict__["_signed_seed"])
        self.words[1:].fill_(key.offset)

    def advance_(self, steps: int) -> None:
        """Moves the position by so many steps, by a kernel."""
        self.words[1:].add_(steps)


Rng = Key | torch.Generator | None


def generator_for(purpose: str, seed: int) -> torch.Generator:
    """Makes a CPU generator whose numbers are shared with no other purpose of the same seed."""
    return torch.Generator().manual_seed(_derived_seed(purpose, seed))


def key_for(purpose: str, seed: int) -> Key:
    """Makes a key whose stream is shared with no other purpose of the same seed, nor with
    ``Key(seed)``, whatever the offsets and chains are."""
    return Key(_derived_seed(purpose, seed))


def _derived_seed(purpose: str, seed: int) -> int:
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _seed_tensor(seed: int, device: torch.device) -> Tensor:
    return torch.tensor([seed, 0], dtype=torch.int64, device=device)


def _captured_seed_tensor(seed: int, device: torch.device) -> Tensor:
    """Makes the seed tensor by kernels only, as a graph that is being captured must not copy from
    the host. The graph keeps it, and makes it again at every replay."""
    key = torch.zeros(2, dtype=torch.int64, device=device)
    key[:1].fill_(seed)
    return key


def _signed(seed: int) -> int:
    return seed - 2**64 if seed >= 2**63 else seed


# Seed tensors are made once per seed and device, as a new one at every step would be a copy to the
# device each time.
_MAX_SEED_TENSORS = 64
_seed_tensors: dict[tuple[int, torch.device], Tensor] = {}
# Seed tensors that a captured graph reads are never given up.
_captured: list[Tensor] = []


def _cached_seed_tensor(seed: int, device: torch.device) -> Tensor:
    known = _seed_tensors.get((seed, device))
    if known is not None:
        return known
    if is_transformed():  # a tensor made within a transform belongs to it
        return _seed_tensor(seed, device)
    for oldest in list(_seed_tensors)[: 1 - _MAX_SEED_TENSORS]:
        _seed_tensors.pop(oldest, None)  # another thread may have removed it
    with torch.inference_mode(False):  # autograd may have to save it later
        made = _seed_tensors[seed, device] = _seed_tensor(seed, device)
    return made


def seed_tensor(key: Key, x: Tensor) -> Tensor:
    """Returns the seed of a key as the ops take it: int64 ``(2,)`` on x's device."""
    if type(key) is DeviceKey:
        return key.words
    seed = key.__dict__["_signed_seed"]
    if type(x) is not Tensor or torch.compiler.is_compiling():
        return _seed_tensor(seed, x.device)
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        known = _seed_tensors.get((seed, x.device))
        if known is None:  # no step was taken before the capture
            return _captured_seed_tensor(seed, x.device)
        if not any(known is kept for kept in _captured):
            _captured.append(known)
        return known
    return _cached_seed_tensor(seed, x.device)


def key_arguments(rng: Rng, x: Tensor, noiseless: bool = False) -> tuple[Tensor, int, int]:
    """Returns ``(key, offset, first_chain)`` as the ops take them; ``key`` is int64 ``(2,)`` on x's
    device.

    A generator, or torch's default generator for ``None``, draws a fresh key at every call. Under
    the transforms of torch.func, which may refuse to draw, it draws none for a ``noiseless`` op.
    """
    if isinstance(rng, Key):
        check_chains(rng, x.size(0))
        return seed_tensor(rng, x), rng.offset, rng.first_chain
    if rng is not None and not isinstance(rng, torch.Generator):
        raise TypeError(f"rng: expected a Key, a torch.Generator or None, got {type(rng).__name__}")
    if rng is not None and rng.device.type != x.device.type:
        raise ValueError(f"rng: expected a generator on {x.device}, got one on {rng.device}")
    if noiseless and is_transformed():
        return seed_tensor(Key(0), x), 0, 0
    key = torch.randint(
        -(2**63), 2**63 - 1, (2,), dtype=torch.int64, device=x.device, generator=rng
    )
    return key, 0, 0


def check_chains(key: Key, n: int) -> None:
    """Raises a ValueError if a key has no numbers for ``n`` chains."""
    if key.first_chain + n > _MAX_CHAINS:
        raise ValueError(
            f"rng: expected chains below 2**32, got first_chain={key.first_chain} with {n} chains"
        )
