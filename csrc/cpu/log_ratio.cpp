// Log ratios of chains.
#include "../core/log_ratio.h"

#include "denormals.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void log_ratio(const LogRatioParams& p, const Execution& on) {
  core::dispatch(p.energy_dtype, [&](auto energy) {
    core::dispatch_compute(p.sums_dtype, [&](auto sum) {
      on.threads.run(p.rows, kRatio, [&](int64_t begin, int64_t end) {
        const KeepDenormals keep_denormals;
        for (int64_t r = begin; r < end; ++r)
          p.out[r] = core::log_ratio<decltype(energy), decltype(sum)>(p, r);
      });
    });
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
