// This instruction set's kernels, by name.
#include "kernels.h"

#define EFFEBM_STRING_(s) #s
#define EFFEBM_STRING(s) EFFEBM_STRING_(s)
#define EFFEBM_ENTRY(name, Params) &name,

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

extern const Kernels table;
const Kernels table = {EFFEBM_STRING(EFFEBM_ISA), EFFEBM_KERNELS(EFFEBM_ENTRY)};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
