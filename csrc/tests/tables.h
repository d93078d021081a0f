// The kernel tables of the instruction sets that this machine has.
#pragma once

#include <cstdlib>
#include <iostream>
#include <vector>

#include "../cpu/kernels.h"

extern "C" const effebm::Kernels* effebm_emulated_kernels();

namespace effebm::test {

// ThreadSanitizer is slow, and races depend neither on the instruction set nor on most options.
#ifdef __SANITIZE_THREAD__
constexpr bool kForRaces = true;
#else
constexpr bool kForRaces = false;
#endif

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = kForRaces;
#endif

// Returns the tables from the plainest to the best.
inline std::vector<const Kernels*> supported_tables() {
  if (kForRaces) return {&cpu::kernels()};
  std::vector<const Kernels*> tables;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (const Kernels* table = cpu::kernels_for(name))
      tables.push_back(table);
    else
      std::cout << "skipped: " << name << ", which this machine or build lacks" << std::endl;
  }
  return tables;
}

// The emulator takes a millisecond where a kernel takes a microsecond: tests give it fewer cases.
inline bool is_emulated(const Kernels* table) { return table == effebm_emulated_kernels(); }

// Returns the supported tables and the emulated CUDA kernels, or only the latter if
// EFFEBM_TEST_EMULATED_ONLY is set.
inline std::vector<const Kernels*> all_tables() {
  std::vector<const Kernels*> tables;
  if (!std::getenv("EFFEBM_TEST_EMULATED_ONLY")) tables = supported_tables();
  tables.push_back(effebm_emulated_kernels());
  return tables;
}

}  // namespace effebm::test
