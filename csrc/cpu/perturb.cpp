// The perturbed pair. The directions of a row are drawn for its norm and again for its values,
// except for rows so short that the directions stay in the cache in between.
#include "../core/perturb.h"

#include "draws.h"
#include "sums.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

constexpr int64_t kKept = 32768;  // the most normals that are kept for a row: 128 KiB

// Returns the sum over a row of the terms that f(at, n, terms) writes for each chunk.
template <class A, class F>
A sum_over_chunks(int64_t dim, const Team& team, A* sums, const F& f) {
  team.run(dim, kChunk, [&](int, int64_t begin, int64_t end) {
    for_chunks(begin, end, [&](int64_t at, int n) {
      A terms[kChunk];
      f(at, n, terms);
      sums[at / kSumWidth] = halving_sum(terms, n);
    });
  });
  return sum_of_groups(sums, groups_of(dim));
}

template <class T>
void perturb_rows(const PerturbParams& p, const Threads& threads) {
  using A = Compute<T>;
  const Stream directions = stream_of(p, Purpose::directions),
               noises = stream_of(p, Purpose::noise);
  const int64_t groups = groups_of(p.dim), kept = p.dim <= kKept ? groups * kChunk : 0;
  for_rows<kPerturb>(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch& scratch) {
    const uint32_t chain = uint32_t(p.first_chain + r);
    const Draws direction(directions, chain), noise(noises, chain);
    const T* x = static_cast<const T*>(p.x) + r * p.dim;
    T *plus = static_cast<T*>(p.out) + r * p.dim, *minus = plus + p.rows * p.dim;
    A* const sums = scratch.room<A>(groups + kept);
    float* const normals = reinterpret_cast<float*>(sums + groups);

    const A squares = sum_over_chunks(p.dim, team, sums, [&](int64_t at, int n, A* terms) {
      alignas(64) float room[kChunk];
      float* const g = kept ? normals + at : room;
      direction.normals(uint32_t(at / 4), (n + 3) / 4, g);
      for (int i = 0; i < n; ++i) terms[i] = term(A(g[i]), A(g[i]));
    });
    const A scale_of_row = direction_scale(radius_of<A>(p, r), squares);
    const A noise_std_of_row = noise_std_of<A>(p, r);

    const A dot = sum_over_chunks(p.dim, team, sums, [&](int64_t at, int n, A* terms) {
      alignas(64) float room[kChunk], xi[kChunk];
      const float* const g = kept ? normals + at : room;
      if (!kept) direction.normals(uint32_t(at / 4), (n + 3) / 4, room);
      // Loops become vector code if everything that they read is in local variables.
      const A scale = scale_of_row, noise_std = noise_std_of_row;
      const T* const from = x + at;
      T *const out_plus = plus + at, *const out_minus = minus + at;
      A centre[kChunk], v[kChunk];
      for (int i = 0; i < n; ++i) centre[i] = widen(from[i]);
      for (int i = 0; i < n; ++i) v[i] = scale * A(g[i]);
      if (noise_std == 0) {
        std::fill(terms, terms + n, A(0));
      } else {
        noise.normals(uint32_t(at / 4), (n + 3) / 4, xi);
        for (int i = 0; i < n; ++i) centre[i] = fma(noise_std, A(xi[i]), centre[i]);
        for (int i = 0; i < n; ++i) terms[i] = term(v[i], noise_std * A(xi[i]));
      }
      for (int i = 0; i < n; ++i) out_plus[i] = narrow<T>(centre[i] + v[i]);
      for (int i = 0; i < n; ++i) out_minus[i] = narrow<T>(centre[i] - v[i]);
    });
    static_cast<A*>(p.noise_dot)[r] = dot;
  });
}

}  // namespace

void perturb(const PerturbParams& p, const Execution& on) {
  dispatch(p.dtype, [&](auto zero) { perturb_rows<decltype(zero)>(p, on.threads); });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
