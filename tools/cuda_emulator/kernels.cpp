// The emulated CUDA kernels as one more table of CPU kernels, so that every test of an op runs on
// them unchanged. Rows [begin, end) are one launch.
#include "../../csrc/cpu/kernels.h"

#include <type_traits>

#include "../../csrc/cpu/chunk.h"
#include "../../csrc/cuda/launch.h"

namespace effebm::emulator {
namespace {

using cpu_kernels::KeepDenormals;  // as a GPU does

int64_t bytes_of(DType dtype) {
  return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2;
}

// The address `elements` further on; null stays null.
template <class P>
P* advance(P* base, int64_t elements, int64_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<P>, const char, char>;
  return base ? static_cast<Byte*>(base) + elements * bytes : nullptr;
}

template <class Params>
Params rows_of(Params p, int64_t begin, int64_t end) {
  p.x = advance(p.x, begin * p.dim, bytes_of(p.dtype));
  p.out = advance(p.out, begin * p.dim, bytes_of(p.dtype));
  p.rows = end - begin;
  return p;
}

// As the ops do, nothing is launched where there is nothing to do.
template <class Params>
bool is_empty(const Params& p, int64_t begin, int64_t end) {
  return begin == end || p.dim == 0;
}

void topk(const TopkParams& p, int64_t begin, int64_t end) {
  if (is_empty(p, begin, end)) return;
  const KeepDenormals keep_denormals;
  cuda::launch_topk(rows_of(p, begin, end), nullptr);
}

void block_sign(const BlockSignParams& p, int64_t begin, int64_t end) {
  if (is_empty(p, begin, end)) return;
  const KeepDenormals keep_denormals;
  cuda::launch_block_sign(rows_of(p, begin, end), nullptr);
}

void langevin_step(const LangevinStepParams& whole, int64_t begin, int64_t end) {
  if (is_empty(whole, begin, end)) return;
  const KeepDenormals keep_denormals;
  LangevinStepParams p = rows_of(whole, begin, end);
  const int64_t compute = p.dtype == DType::float64 ? 8 : 4;
  p.grad = advance(p.grad, begin * p.dim, bytes_of(p.dtype));
  p.residual = advance(p.residual, begin * p.dim, compute);
  p.step_sizes = advance(p.step_sizes, begin * p.step_sizes_stride, compute);
  p.noise_stds = advance(p.noise_stds, begin * p.noise_stds_stride, compute);
  p.first_chain += begin;
  cuda::launch_langevin_step(p, nullptr);
}

}  // namespace
}  // namespace effebm::emulator

extern "C" __attribute__((visibility("default"))) const effebm::cpu::Kernels*
effebm_emulated_kernels() {
  using namespace effebm::emulator;
  static const effebm::cpu::Kernels table = {"emulated CUDA", &langevin_step, &topk, &block_sign};
  return &table;
}
