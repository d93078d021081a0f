// Log ratios of chains, a thread each.
#include "../core/log_ratio.h"
#include "block.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class E, class A>
__global__ void __launch_bounds__(kThreads) write_log_ratios(LogRatioParams p) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r < p.rows) p.out[r] = core::log_ratio<E, A>(p, r);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void log_ratio(const LogRatioParams& p, const Execution& on) {
  using namespace cuda_kernels;
  const unsigned blocks = unsigned((p.rows + kThreads - 1) / kThreads);
  dispatch(p.energy_dtype, [&](auto energy) {
    dispatch_compute(p.sums_dtype, [&](auto sum) {
      constexpr auto kernel = &write_log_ratios<decltype(energy), decltype(sum)>;
      EFFEBM_LAUNCH(kernel, blocks, kThreads, on.stream, p);
    });
  });
}

}  // namespace effebm::cuda
