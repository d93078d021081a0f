// Chooses the table of kernels that this machine runs.
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "kernels.h"

namespace effebm::inline baseline::cpu_kernels {
extern const Kernels table;
}
#ifdef EFFEBM_X86
namespace effebm::avx2::cpu_kernels {
extern const Kernels table;
}
namespace effebm::avx512::cpu_kernels {
extern const Kernels table;
}
#endif

namespace effebm::cpu {
namespace {

const Kernels& choose() {
  const char* wish = std::getenv("ATEN_CPU_CAPABILITY");
  for (const char* name : {"avx512", "avx2"}) {
    if (wish && !std::strcmp(wish, "default")) break;
    if (wish && !std::strcmp(wish, "avx2") && std::strcmp(name, "avx2")) continue;
    if (const Kernels* found = kernels_for(name)) return *found;
  }
  return baseline::cpu_kernels::table;
}

}  // namespace

const Kernels* kernels_for(const char* name) {
  const auto is = [name](const Kernels& table) { return !std::strcmp(name, table.name); };
  if (is(baseline::cpu_kernels::table)) return &baseline::cpu_kernels::table;
#ifdef EFFEBM_X86
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (has_avx2 && is(avx2::cpu_kernels::table)) return &avx2::cpu_kernels::table;
  if (has_avx512 && is(avx512::cpu_kernels::table)) return &avx512::cpu_kernels::table;
#endif
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace effebm::cpu
