#include "compress.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void block_sign(const BlockSignParams& p, int64_t begin, int64_t end) {
  compress_rows<BlockSignRow>(p, p.block_size, begin, end);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
