// Acceptance of proposals: what each chain's probability is, and which chains stay where they were.
// This file has the parameters and the decision.
#pragma once

#include "dtype.h"
#include "exponential.h"
#include "uniforms.h"

namespace effebm {

// Rows of x and of drifts are dim words of 32 bits, of which a float64 takes two. The new rows hold
// the proposals; rows that are rejected get the old ones. Where rows have no elements, dim is 1 and
// their pointers are null.
struct MetropolisParams {
  DType energy_dtype;
  int64_t rows, dim;
  const double* log_ratio;  // (rows,), as the other numbers of chains
  const void *energy, *new_energy;
  void* energy_out;
  double* probability;
  const void *x, *drift;
  void *new_x, *new_drift;
  const int64_t* key;  // seed, offset
  int64_t offset;      // added to the key's offset
  int64_t first_chain;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

EFFEBM_HD Stream stream_of(const MetropolisParams& p) {
  return make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset),
                     Purpose::acceptance);
}

// Returns min(1, exp(log_ratio)), but 0 where the ratio is NaN or the new energy is not finite.
EFFEBM_HD double acceptance(double log_ratio, double new_energy) {
  constexpr double kLargest = 0x1.fffffffffffffp1023;
  if (!(abs(new_energy) <= kLargest) || log_ratio != log_ratio) return 0.0;
  return log_ratio < 0 ? exp_not_positive(log_ratio) : 1.0;
}

template <class E>
struct Decision {
  double probability;
  bool is_accepted;
  E energy;
};

template <class E>
EFFEBM_HD Decision<E> decide(const MetropolisParams& p, const Stream& stream, int64_t row) {
  const E before = static_cast<const E*>(p.energy)[row];
  const E after = static_cast<const E*>(p.new_energy)[row];
  const double probability = acceptance(p.log_ratio[row], widen(after));
  const bool is_accepted = uniform(stream, uint32_t(p.first_chain + row)) < probability;
  return {probability, is_accepted, is_accepted ? after : before};
}

}  // namespace effebm::inline EFFEBM_ISA::core
