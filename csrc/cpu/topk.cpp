#include "topk.h"

#include "compress.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void topk(const TopkParams& p, const cpu::Threads& threads) {
  compress_rows<TopkCompressor>(p, p.k, threads);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
