from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

COMPRESSOR_NONE: int
COMPRESSOR_TOPK: int
COMPRESSOR_BLOCK_SIGN: int
CLIP_NONE: int
CLIP_VALUE: int
CLIP_NORM: int
BOUNDS_NONE: int
BOUNDS_CLAMP: int
BOUNDS_REFLECT: int
ROUNDING_NEAREST: int
ROUNDING_STOCHASTIC: int

def build_info() -> dict[str, str | int]: ...
def cpu_capability() -> str: ...
def philox4x32_10(
    counter: npt.NDArray[np.uint32], key: Sequence[int]
) -> npt.NDArray[np.uint32]: ...
def box_muller(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]: ...
def normals(
    rows: int, dim: int, seed: int, offset: int = ..., first_chain: int = ...
) -> npt.NDArray[np.float32]: ...
def canonical_sum(terms: npt.NDArray[np.floating]) -> float: ...
def order_keys(x: npt.NDArray[np.floating]) -> npt.NDArray[np.unsignedinteger]: ...
