// This instruction set's kernels, by name.
#include "kernels.h"

#define EFFEBM_STRING_(s) #s
#define EFFEBM_STRING(s) EFFEBM_STRING_(s)

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

extern const cpu::Kernels table;
const cpu::Kernels table = {EFFEBM_STRING(EFFEBM_ISA),
                            &langevin_step,
                            &topk,
                            &block_sign,
                            &pack_signs,
                            &unpack_signs,
                            &pack_entries,
                            &perturb};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
