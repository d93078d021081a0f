// Uniform numbers of chains.
#include "../core/uniforms.h"

#include "kernels.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void uniforms(const UniformsParams& p, const Execution& on) {
  const core::Stream stream = core::stream_of(p);
  on.threads.run(p.rows, kUniform, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      p.out[r] = core::uniform(stream, uint32_t(p.first_chain + r));
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
