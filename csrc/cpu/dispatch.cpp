// Which table of kernels this machine runs.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace effebm::baseline::cpu_kernels {
extern const cpu::Kernels table;
}
#ifdef EFFEBM_X86
namespace effebm::avx2::cpu_kernels {
extern const cpu::Kernels table;
}
namespace effebm::avx512::cpu_kernels {
extern const cpu::Kernels table;
}
#endif

namespace effebm::cpu {
namespace {

const Kernels& choose() {
#ifdef EFFEBM_X86
  const char* wish = std::getenv("ATEN_CPU_CAPABILITY");
  const auto wished = [wish](const char* name) { return wish && !std::strcmp(wish, name); };
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (wished("default")) return baseline::cpu_kernels::table;
  if (has_avx512 && !wished("avx2")) return avx512::cpu_kernels::table;
  if (has_avx2) return avx2::cpu_kernels::table;
#endif
  return baseline::cpu_kernels::table;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace effebm::cpu
