#!/usr/bin/env bash
# What only a GPU can show, in under 8 minutes: builds the CUDA kernels for the card that is there,
# tells what they were linked with, compares CPU and CUDA bit by bit, runs the kernel benchmark, then
# the tests of the kernels (with graph capture and replay) and, where it is installed,
# compute-sanitizer.
#
#   benchmarks/gpu_check.sh [FOLDER]      default FOLDER: benchmarks/results/<card>
#
# PYTHON names an interpreter that has a CUDA torch and the extras [dev]; torchebm, if it is to be
# compared with, may be in PYTHONPATH. EFFEBM_COMMIT names the commit of a copy without its history.
# FOLDER receives one log per step, the benchmark's results, and summary.txt; a later step runs even
# if an earlier one failed.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
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
  timeout -k 5 $((seconds < left ? seconds : left > 1 ? left : 1)) "$@" >"$FOLDER/$name.log" 2>&1
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

sanitize() { # under each of its tools a few small cases of every op; PyTorch's cache hides faults
  for tool in memcheck racecheck synccheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool --error-exitcode 9 \
      "$PYTHON" benchmarks/cuda_equality.py --cases 40 --seconds 10 --max-elements 131072 || return 1
  done
}
export -f about linked sanitize
export PYTHON FOLDER PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
KERNELS=("$PYTHON" benchmarks/kernels.py --device cuda --ops plain,block-sign:64,topk:0.01
  --seconds 0.05)

step about 20 bash -c about
step build 200 env FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="$CAPABILITY" MAX_JOBS="$(nproc)" \
  "$PYTHON" setup.py build_ext --inplace
step linked 10 bash -c linked
step equality 50 "$PYTHON" benchmarks/cuda_equality.py --seconds 30
step float32 165 "${KERNELS[@]}" --limit 135 --out "$FOLDER/float32"
step launches 45 "${KERNELS[@]}" --headline --overhead --no-compile --out "$FOLDER/launches"
step perturb 30 "$PYTHON" benchmarks/perturb.py --device cuda --no-compile --seconds 0.05 \
  --out "$FOLDER/perturb"
step bfloat16 60 "${KERNELS[@]}" --dtype bfloat16 --no-compile --limit 40 --out "$FOLDER/bfloat16"
# Nothing is timed any more, so these may share the card.
if command -v compute-sanitizer >/dev/null; then
  step sanitizer 110 bash -c sanitize &
else
  echo "sanitizer      compute-sanitizer is not installed" | tee -a "$FOLDER/summary.txt"
fi
step tests "$LIMIT" "$PYTHON" -m pytest python_tests -k "cuda and not emulated" \
  --deselect python_tests/package/test_cuda_build.py
wait
cat "$FOLDER"/{bfloat16,launches,float32}.log "$FOLDER/summary.txt"
! grep -q ' rc [1-9]' "$FOLDER/summary.txt"
