COMPRESSORS: dict[str, int]  # the codes by name
RANDOM_COMPRESSORS: frozenset[int]  # the codes of those that draw
COMPRESSOR_NONE: int
CLIP_NONE: int
CLIP_VALUE: int
CLIP_NORM: int
BOUNDS_NONE: int
BOUNDS_CLAMP: int
BOUNDS_REFLECT: int
ROW_SUMS_STATISTICS: int
ROW_SUMS_TRANSITION: int

register_kernels: object  # a capsule, by which _C_cuda adds its kernels

def build_info() -> dict[str, str | int]: ...
def cpu_capability() -> str: ...
