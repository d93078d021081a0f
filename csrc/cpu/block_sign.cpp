#include "block_sign.h"

#include "compress.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void block_sign(const BlockSignParams& p, const Execution& on) {
  compress_rows<BlockSignCompressor>(p, blocks_of(p), on.threads);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
