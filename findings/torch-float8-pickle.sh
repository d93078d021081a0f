#!/usr/bin/env bash
# pickle writes a torch tensor of float8 and cannot read it back.
#
# A tensor of each of four dtypes goes through pickle, copy.deepcopy and torch.save.
#
# Guess, before the first run: all dtypes come back on all three ways.
#
# Seen with torch 2.13.0: the guess was wrong. pickle.dumps of float8 succeeds, and pickle.loads of
# what it wrote raises an AttributeError; deepcopy and torch.load give the tensor back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/bin/python" -W ignore - >"$folder/now" <<'PY'
import copy
import io
import pickle

import torch


def saved(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return torch.load(file)


def pickled(tensor):
    written = pickle.dumps(tensor)
    try:
        return pickle.loads(written)
    except AttributeError as error:
        return f"written, but loads raises AttributeError: {error}"


for dtype in (torch.float32, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn):
    tensor = torch.tensor([0.5, -2.0]).to(dtype)
    for way in (pickled, copy.deepcopy, saved):
        back = way(tensor)
        print(dtype, way.__name__, back.float().tolist() if isinstance(back, torch.Tensor) else back)
PY
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
torch.float32 pickled [0.5, -2.0]
torch.float32 deepcopy [0.5, -2.0]
torch.float32 saved [0.5, -2.0]
torch.bfloat16 pickled [0.5, -2.0]
torch.bfloat16 deepcopy [0.5, -2.0]
torch.bfloat16 saved [0.5, -2.0]
torch.float8_e5m2 pickled written, but loads raises AttributeError: type object 'torch.storage.UntypedStorage' has no attribute 'dtype'
torch.float8_e5m2 deepcopy [0.5, -2.0]
torch.float8_e5m2 saved [0.5, -2.0]
torch.float8_e4m3fn pickled written, but loads raises AttributeError: type object 'torch.storage.UntypedStorage' has no attribute 'dtype'
torch.float8_e4m3fn deepcopy [0.5, -2.0]
torch.float8_e4m3fn saved [0.5, -2.0]
SEEN
