// The kernel tables of the instruction sets that this machine has.
#pragma once

#include <iostream>
#include <vector>

#include "../cpu/kernels.h"

namespace effebm::inline baseline::cpu_kernels {
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

namespace effebm::test {

// From the plainest to the best.
inline std::vector<const cpu::Kernels*> supported_tables() {
  std::vector<const cpu::Kernels*> tables = {&baseline::cpu_kernels::table};
#ifdef EFFEBM_X86
  const auto add = [&tables](const cpu::Kernels& table, bool supported) {
    if (supported)
      tables.push_back(&table);
    else
      std::cout << "skipped: " << table.name << ", which this machine lacks" << std::endl;
  };
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  add(avx2::cpu_kernels::table, has_avx2);
  add(avx512::cpu_kernels::table,
      has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
#endif
  return tables;
}

}  // namespace effebm::test
