// The kernel tables of the instruction sets that this machine has.
#pragma once

#include <iostream>
#include <vector>

#include "../cpu/kernels.h"

namespace effebm::test {

// From the plainest to the best.
inline std::vector<const cpu::Kernels*> supported_tables() {
  std::vector<const cpu::Kernels*> tables;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (const cpu::Kernels* table = cpu::kernels_for(name))
      tables.push_back(table);
    else
      std::cout << "skipped: " << name << ", which this machine or build lacks" << std::endl;
  }
  return tables;
}

}  // namespace effebm::test
