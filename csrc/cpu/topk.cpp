#include "compress.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void topk(const TopkParams& p, int64_t begin, int64_t end) {
  compress_rows<TopkRow>(p, p.k, begin, end);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
