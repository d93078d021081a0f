"""torch.load does not check the sums of the archive that it reads.

The file of torch.save is a zip archive with a CRC-32 of each member. Here one bit of a tensor's
numbers is flipped in such a file.

Guess, before the first run: torch.load, weights_only or not, gives another number without an error
or a warning; zipfile's testzip names the member.

Seen with torch 2.13.0: as guessed.
"""

import sys

from packages import compare, interpreter_with, printed

PROGRAM = """
import io, json, warnings, zipfile, torch
warnings.simplefilter("error", UserWarning)
file = io.BytesIO()
torch.save({"weights": torch.full((64,), 1.0)}, file)
content = bytearray(file.getvalue())
content[content.index(torch.full((64,), 1.0).numpy().tobytes()) + 3] ^= 1
found = {"testzip": zipfile.ZipFile(io.BytesIO(content)).testzip()}
for weights_only in (True, False):
    weights = torch.load(io.BytesIO(content), weights_only=weights_only)["weights"]
    found[f"weights_only={weights_only}"] = str(weights[:2].tolist())
print(json.dumps(found))
"""
SEEN = {
    "testzip": "archive/data/0",
    "weights_only=True": "[0.25, 1.0]",
    "weights_only=False": "[0.25, 1.0]",
}

if __name__ == "__main__":
    with interpreter_with("torch==2.13.0", "numpy==2.4.6") as python:
        sys.exit(compare(SEEN, printed(python, PROGRAM)))
