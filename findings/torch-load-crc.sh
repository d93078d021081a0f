#!/usr/bin/env bash
# torch.load does not check the sums of the archive that it reads.
#
# The file of torch.save is a zip archive with a CRC-32 of each member. Here one bit of a tensor's
# numbers is flipped in such a file.
#
# Guess, before the first run: torch.load, weights_only or not, gives another number without an error
# or a warning; zipfile's testzip names the member.
#
# Seen with torch 2.13.0: as guessed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/bin/python" -W ignore - >"$folder/now" <<'PY'
import io
import warnings
import zipfile

import torch

warnings.simplefilter("error", UserWarning)
file = io.BytesIO()
torch.save({"weights": torch.full((64,), 1.0)}, file)
content = bytearray(file.getvalue())
content[content.index(torch.full((64,), 1.0).numpy().tobytes()) + 3] ^= 1
print("testzip", zipfile.ZipFile(io.BytesIO(content)).testzip())
for weights_only in (True, False):
    weights = torch.load(io.BytesIO(content), weights_only=weights_only)["weights"]
    print(f"weights_only={weights_only}", weights[:2].tolist())
PY
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
testzip archive/data/0
weights_only=True [0.25, 1.0]
weights_only=False [0.25, 1.0]
SEEN
