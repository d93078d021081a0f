// Uniform numbers of chains, a thread each.
#include "../core/uniforms.h"
#include "block.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

__global__ void __launch_bounds__(kThreads) uniforms(UniformsParams p) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r < p.rows) p.out[r] = uniform(stream_of(p), uint32_t(p.first_chain + r));
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void uniforms(const UniformsParams& p, const Execution& on) {
  using namespace cuda_kernels;
  constexpr auto kernel = &cuda_kernels::uniforms;
  const unsigned blocks = unsigned((p.rows + kThreads - 1) / kThreads);
  EFFEBM_LAUNCH(kernel, blocks, kThreads, on.stream, p);
}

}  // namespace effebm::cuda
