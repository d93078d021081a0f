#!/usr/bin/env bash
# What only a GPU can show, in under 8 minutes: links or builds the CUDA kernels for the card that is
# there, compares CPU and CUDA bit by bit, times the kernels and puts them beside earlier times, then
# runs the tests of the kernels (with graph capture and replay) and, where it is installed,
# compute-sanitizer.
#
#   benchmarks/gpu_check.sh [FOLDER [EARLIER]]      default FOLDER: benchmarks/results/<card>
#
# PYTHON names an interpreter that has a CUDA torch and the extras [dev]; torchebm, if it is to be
# compared with, may be in PYTHONPATH. EFFEBM_COMMIT names the commit of a copy without its history.
# EARLIER is a kernels.json of kernels.py, float32, to compare with; by default the one of an H200 that is
# kept in benchmarks/results.
# FOLDER receives one log per step, the benchmark's results, and summary.txt, each before the next
# step begins; a later step runs even if an earlier one failed.
#
# To save a card's time, build beforehand on a machine with nvcc, for the card's architecture:
#   FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=9.0 python setup.py build_ext --inplace
# and take the folder build/temp.linux-x86_64 along: objects in it whose sources and flags are the
# same are only linked here, under any Python, whatever their dates.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
EARLIER=${2:-benchmarks/results/nvidia-h200-15456a0/float32.json}
LIMIT=470 # seconds for everything

read -r CARD CAPABILITY < <("$PYTHON" - <<'PY'
import torch
name = torch.cuda.get_device_name().lower().replace(" ", "-") if torch.cuda.is_available() else "-"
print(name, ".".join(map(str, torch.cuda.get_device_capability())) if name != "-" else "-")
PY
)
if [ "${CARD:--}" = - ]; then
  echo "gpu_check: $PYTHON has no torch that sees a GPU" >&2
  exit 2
fi
FOLDER=${1:-benchmarks/results/$CARD}
mkdir -p "$FOLDER"
: >"$FOLDER/summary.txt"

# step NAME SECONDS COMMAND...
step() {
  local name=$1 seconds=$2 begin=$SECONDS rc left
  shift 2
  left=$((LIMIT - SECONDS))
  # Interrupted, pytest tells what has failed so far.
  timeout -s INT -k 5 $((seconds < left ? seconds : left > 1 ? left : 1)) "$@" >"$FOLDER/$name.log" 2>&1
  rc=$?
  printf '%-14s rc %-4s %4s s   %s\n' "$name" $rc $((SECONDS - begin)) \
    "$(tail -n 1 "$FOLDER/$name.log" | cut -c 1-120)" | tee -a "$FOLDER/summary.txt"
}

about() {
  git rev-parse HEAD 2>/dev/null
  nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem --format=csv,noheader
  nvcc --version | tail -n 2
  "$PYTHON" -c 'import sys, torch; print("python", sys.version.split()[0], "torch", torch.__version__)'
}

linked() { # by which compiler, with which libraries: no libstdc++.so.6 means a static one
  local linker module
  linker=$(sed -n 's/^\([^ ]*\) .* -shared .*/\1/p' "$FOLDER/build.log" | head -n 1)
  linker=${linker:-g++} # where nothing had to be linked
  echo "$(command -v "$linker") -> $(readlink -f "$(command -v "$linker")")"
  "$linker" --version | head -n 1
  # What it would have the linker do.
  "$linker" '-###' -shared -x c++ /dev/null -o /dev/null 2>&1 | grep -E '(collect2|/ld)"? '
  for module in effebm_ext/_C*.so; do
    echo "${module##*/} needs $(readelf -d "$module" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | xargs)"
  done
}

export -f about linked
export PYTHON FOLDER PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
# Without torch.compile, which takes longer than all the rest.
KERNELS=("$PYTHON" benchmarks/kernels.py --device cuda --no-compile --seconds 0.02)

step about 20 bash -c about
step build 150 env FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="$CAPABILITY" MAX_JOBS="$(nproc)" \
  "$PYTHON" setup.py build_ext --inplace
step linked 10 bash -c linked
step equality 45 "$PYTHON" benchmarks/cuda_equality.py --seconds 25
step float32 110 "${KERNELS[@]}" --ops plain,block-sign:64,topk:0.01,topk:0.1 --limit 80 \
  --out "$FOLDER/float32"
step compare 15 "$PYTHON" benchmarks/compare.py "$FOLDER/float32/kernels.json" "$EARLIER"
KERNELS+=(--ops plain,block-sign:64,topk:0.1)
step bfloat16 50 "${KERNELS[@]}" --dtype bfloat16 --limit 30 --out "$FOLDER/bfloat16"
step launches 40 "${KERNELS[@]}" --headline --overhead --out "$FOLDER/launches"
step perturb 25 "$PYTHON" benchmarks/perturb.py --device cuda --no-compile --seconds 0.02 \
  --out "$FOLDER/perturb"
step tests 120 env OMP_NUM_THREADS=1 "$PYTHON" -m pytest -n 8 python_tests \
  -k "cuda and not emulated" --deselect python_tests/package/test_cuda_build.py
# A few small cases of every op; PyTorch's cache would hide faults.
for tool in memcheck racecheck synccheck; do
  if command -v compute-sanitizer >/dev/null; then
    step $tool 40 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool \
      --error-exitcode 9 "$PYTHON" benchmarks/cuda_equality.py --cases 40 --seconds 8 \
      --max-elements 131072
  else
    echo "$tool: compute-sanitizer is not installed" | tee -a "$FOLDER/summary.txt"
  fi
done
cat "$FOLDER"/{bfloat16,launches,float32,compare}.log "$FOLDER/summary.txt"
! grep -q ' rc [1-9]' "$FOLDER/summary.txt"
