#include "topk.h"

#include "compress.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void topk(const TopkParams& p, const Execution& on) {
  compress_rows<TopkCompressor>(p, p.k, on.threads);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
