// The numerical core over arrays, for the Python tests: python_tests/native.py loads these by name.
#include <algorithm>

#include "../core/canonical_sum.h"
#include "../core/normal.h"
#include "../core/topk.h"

#define EFFEBM_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace effebm;

template <class A>
A canonical_sum(const A* terms, int64_t n) {
  return core::canonical_sum<A>(0, n, [terms](int64_t begin, int count, A* out) {
    for (int i = 0; i < count; ++i) out[i] = terms[begin + i] + A(0);
  });
}

template <class A>
void order_keys(const A* x, int64_t n, core::Key<A>* keys) {
  for (int64_t i = 0; i < n; ++i) keys[i] = core::order_key(x[i]);
}

}  // namespace

// counters (n, 4), key (2,) -> words (n, 4)
EFFEBM_EXPORT void effebm_philox4x32_10(const uint32_t* counters, int64_t n, const uint32_t* key,
                                        uint32_t* words) {
  for (int64_t i = 0; i < n; ++i, counters += 4, words += 4) {
    const core::Words r =
        core::philox4x32_10({{counters[0], counters[1], counters[2], counters[3]}}, key[0], key[1]);
    std::copy(r.w, r.w + 4, words);
  }
}

// words (n, 2) -> normals (n, 2)
EFFEBM_EXPORT void effebm_box_muller(const uint32_t* words, int64_t n, float* normals) {
  for (int64_t i = 0; i < n; ++i, words += 2, normals += 2)
    core::box_muller(words[0], words[1], normals[0], normals[1]);
}

// Writes normals (rows, dim): the noise of a Langevin step with this key, in units of noise_std.
EFFEBM_EXPORT void effebm_normals(int64_t rows, int64_t dim, int64_t seed, int64_t offset,
                                  int64_t first_chain, float* normals) {
  const core::Stream stream =
      core::make_stream(uint64_t(seed), uint64_t(offset), core::Purpose::noise);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < dim; i += 4) {
      float n[4];
      core::normal4(stream, uint32_t(first_chain + r), uint32_t(i / 4), n);
      std::copy(n, n + std::min<int64_t>(4, dim - i), normals + r * dim + i);
    }
}

EFFEBM_EXPORT float effebm_canonical_sum_float32(const float* terms, int64_t n) {
  return canonical_sum(terms, n);
}

EFFEBM_EXPORT double effebm_canonical_sum_float64(const double* terms, int64_t n) {
  return canonical_sum(terms, n);
}

EFFEBM_EXPORT void effebm_order_keys_float32(const float* x, int64_t n, uint32_t* keys) {
  order_keys(x, n, keys);
}

EFFEBM_EXPORT void effebm_order_keys_float64(const double* x, int64_t n, uint64_t* keys) {
  order_keys(x, n, keys);
}
