// The logarithm of the ratio that makes a Langevin step exact: of Metropolis and Hastings, or of a
// Jarzynski weight. This file has its parameters and its formula.
#pragma once

#include "dtype.h"

namespace effebm {

// A number per row, so a row has one element.
struct LogRatioParams {
  DType energy_dtype;
  DType sums_dtype;  // float32 or float64
  int64_t rows, dim;
  const void *energy, *new_energy;
  // (rows, 2): the sums of drift * (x' - x) and of drift^2 along the step, and along the way back
  const void *sums, *back_sums;
  double step_size;
  double* out;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

// E is the type of the energies, A of the sums.
template <class E, class A>
EFFEBM_HD double log_ratio(const LogRatioParams& p, int64_t row) {
  constexpr double kLargest = 0x1.fffffffffffffp1023;
  constexpr uint64_t kMinusInfinity = 0xFFF0000000000000u;
  const double before = widen(static_cast<const E*>(p.energy)[row]);
  const double after = widen(static_cast<const E*>(p.new_energy)[row]);
  if (after > kLargest) return from_bits(kMinusInfinity);  // the drift may be NaN there
  const A* const on = static_cast<const A*>(p.sums) + 2 * row;
  const A* const back = static_cast<const A*>(p.back_sums) + 2 * row;
  const double dots = double(on[0]) + double(back[0]);
  const double squares = double(on[1]) - double(back[1]);
  return before - after + dots * 0.5 + p.step_size * 0.125 * squares;
}

}  // namespace effebm::inline EFFEBM_ISA::core
