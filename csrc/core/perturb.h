// The perturbed pair of finite-difference score matching: x + s xi + v and x + s xi - v, with v of
// a given length in a random direction. This file has its parameters and the scalars of a row.
#pragma once

#include "arith.h"
#include "dtype.h"
#include "philox.h"

namespace effebm {

// Rows of dim contiguous elements. The compute type is float64 for float64 states, else float32.
struct PerturbParams {
  DType dtype;
  int64_t rows, dim;
  const void* x;
  void* out;           // (2, rows, dim): x + s xi + v, then x + s xi - v
  void* noise_dot;     // compute type, (rows,): the sums of v * s xi
  const int64_t* key;  // seed, offset
  int64_t offset;      // added to the key's offset
  int64_t first_chain;
  double radius;
  const void* radii;  // compute type, used instead of radius unless null
  int64_t radii_stride;
  double noise_std;
  const void* noise_stds;
  int64_t noise_stds_stride;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

EFFEBM_HD Stream stream_of(const PerturbParams& p, Purpose purpose) {
  return make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset), purpose);
}

template <class A>
EFFEBM_HD A radius_of(const PerturbParams& p, int64_t row) {
  return p.radii ? static_cast<const A*>(p.radii)[row * p.radii_stride] : A(p.radius);
}

template <class A>
EFFEBM_HD A noise_std_of(const PerturbParams& p, int64_t row) {
  return p.noise_stds ? static_cast<const A*>(p.noise_stds)[row * p.noise_stds_stride]
                      : A(p.noise_std);
}

// Returns the factor that gives normals of this sum of squares the length `radius`. A row whose
// normals are all zero, as the normal of a single element can be, has no direction and is not
// moved.
template <class A>
EFFEBM_HD A direction_scale(A radius, A sum_of_squares) {
  const A norm = sqrt(sum_of_squares);
  return norm > A(0) ? divide(radius, norm) : A(0);
}

}  // namespace effebm::inline EFFEBM_ISA::core
