#!/usr/bin/env bash
# A custom op of torch has zero derivatives in forward mode where it has no formula for them.
#
# The op cubes its argument and has a formula for backward only (register_autograd). Forward mode is
# asked for by torch.func.jvp, jacfwd, and the dual tensors of torch.autograd.forward_ad; the same
# function in plain torch stands beside it.
#
# Guess, before the first run: all three give zeros, without an error or a warning; an argument that
# requires a gradient, too, makes an error of it.
#
# Seen with torch 2.13.0: as guessed; a dual tensor comes out without a tangent, which is how torch
# writes zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/bin/python" -W ignore - >"$folder/now" <<'PY'
import warnings

import torch
from torch.autograd import forward_ad

warnings.simplefilter("error", UserWarning)


@torch.library.custom_op("toy::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


cube.register_autograd(
    lambda ctx, grad: grad * 3 * ctx.saved_tensors[0] ** 2,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


def dual(f, x):
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    return tangent if tangent is None else tangent.tolist()


def attempt(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


for name, f in {"custom": cube, "plain": lambda x: x**3}.items():
    x = torch.tensor([1.0, 2.0])
    leaf = x.clone().requires_grad_()
    print(name, "backward", torch.autograd.grad(f(leaf).sum(), leaf)[0].tolist())
    print(name, "jvp", attempt(lambda: torch.func.jvp(f, (x,), (torch.ones(2),))[1].tolist()))
    print(name, "jacfwd", attempt(lambda: torch.func.jacfwd(f)(x).diagonal().tolist()))
    print(name, "dual", attempt(lambda: dual(f, x)))
    print(name, "dual, requires_grad", attempt(lambda: dual(f, leaf)))
PY
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
custom backward [3.0, 12.0]
custom jvp [0.0, 0.0]
custom jacfwd [0.0, 0.0]
custom dual None
custom dual, requires_grad NotImplementedError
plain backward [3.0, 12.0]
plain jvp [3.0, 12.0]
plain jacfwd [3.0, 12.0]
plain dual [3.0, 12.0]
plain dual, requires_grad [3.0, 12.0]
SEEN
