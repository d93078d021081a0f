#!/usr/bin/env bash
# torch's normal distribution function is 0 in the left tail, where it is a common number.
#
# torch.special.ndtr and torch.distributions.Normal.cdf are asked for the left tail of the standard
# normal law, in float64 and float32, beside scipy.special.ndtr and half of torch.special.erfc.
#
# Guess, before the first run: all agree to the precision of their dtype down to -37, as the smallest
# value, 6e-300, is far from underflow, and as torch.special.erfc is right there.
#
# Seen with torch 2.13.0: below -8.3 ndtr and Normal.cdf are exactly 0 in float64, so a log of them is
# -inf; at -8 they are off by 2 %. In float32 they are 0 from -6 on and off by 4 % at -5, where float32
# has 38 orders of magnitude left. torch.special.log_ndtr and erfc have no such fault.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" -W ignore - >"$folder/now" <<'PY'
import scipy.special
import torch


def show(*values):
    return " ".join(f"{float(value):.3g}" for value in values)


print("float64: x, ndtr, Normal.cdf, erfc / 2, exp(log_ndtr), scipy's ndtr")
for x in (-5.0, -8.0, -10.0, -37.0):
    at = torch.tensor(x, dtype=torch.float64)
    print(show(x, torch.special.ndtr(at), torch.distributions.Normal(0.0, 1.0).cdf(at),
               torch.special.erfc(-at / 2**0.5) / 2, torch.special.log_ndtr(at).exp(),
               scipy.special.ndtr(x)))
print("float32: x, ndtr, scipy's ndtr")
for x in (-3.0, -5.0, -6.0, -10.0):
    print(show(x, torch.special.ndtr(torch.tensor(x)), scipy.special.ndtr(x)))
PY
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
float64: x, ndtr, Normal.cdf, erfc / 2, exp(log_ndtr), scipy's ndtr
-5 2.87e-07 2.87e-07 2.87e-07 2.87e-07 2.87e-07
-8 6.11e-16 6.11e-16 6.22e-16 6.22e-16 6.22e-16
-10 0 0 7.62e-24 7.62e-24 7.62e-24
-37 0 0 5.73e-300 5.73e-300 5.73e-300
float32: x, ndtr, scipy's ndtr
-3 0.00135 0.00135
-5 2.98e-07 2.87e-07
-6 0 9.87e-10
-10 0 7.62e-24
SEEN
