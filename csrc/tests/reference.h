// The kernels' results, computed again in the plainest way: from the documented rules and not
// from the kernels' code.
#pragma once

#include <limits>
#include <numeric>

#include "../core/langevin_step.h"
#include "../core/normal.h"
#include "values.h"

namespace effebm::test {

// Position i is added to i + 512, then i + 256, ...: always all 1024 positions.
template <class A>
A direct_group_sum(std::vector<A> terms) {
  terms.resize(1024, A(0));
  for (size_t half = 512; half >= 1; half /= 2)
    for (size_t i = 0; i < half; ++i) terms[i] += terms[i + half];
  return terms[0];
}

template <class A>
A direct_sum(const std::vector<A>& terms) {
  if (terms.size() <= 1024) return direct_group_sum(terms);
  std::vector<A> sums;
  for (size_t begin = 0; begin < terms.size(); begin += 1024) {
    const size_t end = std::min(begin + 1024, terms.size());
    sums.push_back(direct_group_sum(
        std::vector<A>(terms.begin() + int64_t(begin), terms.begin() + int64_t(end))));
  }
  return direct_sum(sums);
}

// Returns the indices of a row from the largest magnitude to the smallest: NaN first, ties in index
// order.
template <class A>
std::vector<size_t> ranking(const std::vector<A>& u) {
  std::vector<size_t> order(u.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&u](size_t i, size_t j) {
    if (std::isnan(u[j])) return false;
    return std::isnan(u[i]) || std::fabs(u[i]) > std::fabs(u[j]);
  });
  return order;
}

template <class A>
std::vector<A> reference_topk(const std::vector<A>& u, int64_t k) {
  const std::vector<size_t> order = ranking(u);
  std::vector<A> c(u.size(), A(0));
  for (size_t i = 0; i < size_t(k); ++i) c[order[i]] = u[order[i]];
  return c;
}

// Compresses blocks of one size, or the blocks that offsets delimit.
template <class A>
std::vector<A> reference_block_sign(const std::vector<A>& u, int64_t block_size,
                                    std::vector<int64_t> offsets = {}) {
  std::vector<A> c(u.size());
  if (offsets.empty()) {
    const int64_t dim = int64_t(u.size()), size = std::min(block_size, std::max<int64_t>(1, dim));
    for (int64_t begin = 0; begin < dim; begin += size) offsets.push_back(begin);
    offsets.push_back(dim);
  }
  for (size_t block = 0; block + 1 < offsets.size(); ++block) {
    const size_t begin = size_t(offsets[block]), end = size_t(offsets[block + 1]);
    std::vector<A> magnitudes;
    for (size_t i = begin; i < end; ++i) magnitudes.push_back(std::fabs(u[i]));
    const A mean = direct_sum(magnitudes) / A(end - begin);
    for (size_t i = begin; i < end; ++i) c[i] = u[i] == 0 ? A(0) : std::copysign(mean, u[i]);
  }
  return c;
}

inline std::vector<uint32_t> reference_words(const Stream& stream, uint32_t chain, int64_t dim) {
  std::vector<uint32_t> words;
  for (int64_t i = 0; i < dim; ++i) words.push_back(draw(stream, chain, uint32_t(i / 4)).w[i % 4]);
  return words;
}

// The entries with the k largest words; the last two bits of a word do not count.
template <class A>
std::vector<A> reference_random_k(const std::vector<A>& u, const std::vector<uint32_t>& words,
                                  int64_t k, bool unbiased) {
  std::vector<double> size;
  for (uint32_t word : words) size.push_back(double(word >> 2));
  std::vector<A> c(u.size(), A(0));
  const std::vector<size_t> order = ranking(size);
  const A factor = unbiased ? A(u.size()) / A(k) : A(1);
  for (size_t i = 0; i < size_t(k); ++i) c[order[i]] = u[order[i]] * factor;
  return c;
}

// Up to the next number with so many bits of mantissa if the word is large enough for what lies
// above the last one.
template <class A>
A reference_natural(A u, uint32_t word, int mantissa_bits) {
  using Limits = std::numeric_limits<A>;
  if (std::isnan(u)) return Limits::quiet_NaN();
  if (std::isinf(u) || u == 0) return u;
  const int exponent = std::max(std::ilogb(u), Limits::min_exponent - 1);
  const int spacing = exponent - mantissa_bits, dropped = Limits::digits - 1 - mantissa_bits;
  const double scaled = std::ldexp(std::fabs(double(u)), -spacing);
  const double above = std::ldexp(scaled - std::floor(scaled), dropped);
  double random = std::floor(std::ldexp(double(word), dropped - 32));
  if (dropped > 32) random += std::ldexp(0.5, dropped - 32);
  const double up = above + random >= std::ldexp(1.0, dropped) ? 1 : 0;
  const int largest = Limits::max_exponent - 1 - mantissa_bits;  // the spacing of the last ones
  const double most = std::ldexp(2.0, mantissa_bits) - 1;
  const double short_one = std::floor(scaled) + up;
  const double size = spacing == largest && short_one > most ? most : short_one;
  return std::copysign(A(std::ldexp(size, spacing)), u);
}

// Away from zero if what lies above the neighbour nearer to zero and the word's upper bits make a
// whole.
template <class T>
T reference_rounded(float v, uint32_t word) {
  if (!std::isfinite(v) || v == 0) return narrow<T>(v);
  const bool is_brain = std::is_same_v<T, bfloat16>;
  const int mantissa_bits = is_brain ? 7 : 10, least_exponent = is_brain ? -126 : -14;
  const int spacing = std::max(std::ilogb(v), least_exponent) - mantissa_bits;
  const double scaled = std::ldexp(std::fabs(double(v)), -spacing), below = std::floor(scaled);
  const bool up = scaled - below + std::ldexp(double(word >> 16), -16) >= 1;
  return narrow<T>(std::copysign(float(std::ldexp(below + up, spacing)), v));
}

template <class A>
A reference_bounds(Bounds bounds, A v, A lower, A upper) {
  if (bounds == Bounds::none || std::isnan(v)) return v;
  if (bounds == Bounds::reflect && v < lower)
    v = 2 * lower - v;
  else if (bounds == Bounds::reflect && v > upper)
    v = 2 * upper - v;
  return std::min(std::max(v, lower), upper);
}

// Computes row r of a step: `out` and `residual` hold the state and the memory before, and after;
// `drift` and `row_sums` are filled.
template <class T>
void reference_step(const LangevinStepParams& p, int64_t r, const T* grad, T* out,
                    Compute<T>* residual, Compute<T>* drift, Compute<T>* row_sums) {
  using A = Compute<T>;
  const auto given = [r](const StepScalars& of, int64_t i) {
    return static_cast<const A*>(of.data)[r * of.row_stride + i * of.element_stride];
  };
  std::vector<A> u, squares;
  for (int64_t i = 0; i < p.dim; ++i) squares.push_back(widen(grad[i]) * widen(grad[i]));
  const A norm = std::sqrt(direct_sum(squares)), limit = A(p.clip_limit);
  const A scale = norm > limit ? limit / norm : A(1);
  A n_clipped = 0;
  for (int64_t i = 0; i < p.dim; ++i) {
    A g = widen(grad[i]);
    const bool clip = p.clip == Clip::value  ? std::fabs(g) > limit
                      : p.clip == Clip::norm ? scale != 1
                                             : false;
    if (clip) g = p.clip == Clip::value ? std::copysign(limit, g) : g * scale;
    n_clipped += clip;
    u.push_back(residual ? g + residual[i] : g);
  }
  std::vector<int64_t> offsets;
  if (p.block_offsets) offsets.assign(p.block_offsets, p.block_offsets + p.n_blocks + 1);
  std::vector<A> c = u;
  if (p.compressor == Compressor::topk) c = reference_topk(u, p.compressor_size);
  if (p.compressor == Compressor::block_sign)
    c = reference_block_sign(u, p.compressor_size, offsets);
  const uint64_t seed = uint64_t(p.key[0]), offset = uint64_t(p.key[1]) + uint64_t(p.offset);
  const std::vector<uint32_t> words = reference_words(
      make_stream(seed, offset, Purpose::compression), uint32_t(p.first_chain + r), p.dim);
  if (p.compressor == Compressor::random_k || p.compressor == Compressor::biased_random_k)
    c = reference_random_k(u, words, p.compressor_size, p.compressor == Compressor::random_k);
  std::vector<bool> moves(size_t(p.dim), true);
  if (p.compressor == Compressor::random_block) {
    moves.assign(size_t(p.dim), false);
    const int64_t start = int64_t(double(words.empty() ? 0 : words[0]) * double(p.dim) / 0x1p32);
    for (int64_t i = 0; i < p.compressor_size; ++i) moves[size_t((start + i) % p.dim)] = true;
    for (size_t i = 0; i < c.size(); ++i) c[i] = moves[i] ? u[i] : A(0);
  }
  if (p.compressor == Compressor::natural)
    for (size_t i = 0; i < c.size(); ++i)
      c[i] = reference_natural(u[i], words[i], int(p.compressor_size));

  const Stream stream = make_stream(seed, offset, Purpose::noise);
  const std::vector<uint32_t> rounding = reference_words(
      make_stream(seed, offset, Purpose::rounding), uint32_t(p.first_chain + r), p.dim);
  std::vector<A> products, drift_squares;
  for (int64_t i = 0; i < p.dim; ++i) {
    const A before = widen(out[i]);
    const A step = p.step_sizes.data ? given(p.step_sizes, i) : A(p.step_size);
    A noise_std = p.has_noise_std ? A(p.noise_std) : std::sqrt(step);
    if (p.noise_stds.data) noise_std = given(p.noise_stds, i);
    float normals[4];
    normal4(stream, uint32_t(p.first_chain + r), uint32_t(i / 4), normals);
    A v = std::fma(-(step / 2), c[size_t(i)], widen(out[i]));
    float normal = normals[i % 4];
    if (p.averaged_noise) {
      normal4(make_stream(seed, offset + 1, Purpose::noise), uint32_t(p.first_chain + r),
              uint32_t(i / 4), normals);
      normal = normal + normals[i % 4];
    }
    if (noise_std != 0) v = std::fma(p.averaged_noise ? noise_std / 2 : noise_std, A(normal), v);
    const A lower = widen(of<T>(p.lower)), upper = widen(of<T>(p.upper));
    v = reference_bounds(p.bounds, v, lower, upper);
    if (moves[size_t(i)]) out[i] = narrow<T>(v);
    if constexpr (sizeof(T) == 2)
      if (p.stochastic_rounding && moves[size_t(i)])
        out[i] = reference_rounded<T>(v, rounding[size_t(i)]);
    if (residual) residual[i] = u[size_t(i)] - c[size_t(i)];
    drift[i] = c[size_t(i)];
    products.push_back(drift[i] * (widen(out[i]) - before) + A(0));
    drift_squares.push_back(drift[i] * drift[i]);
  }
  const bool statistics = p.row_sums_of == RowSums::statistics;
  row_sums[0] = direct_sum(statistics ? squares : products);
  row_sums[1] = statistics ? n_clipped : direct_sum(drift_squares);
}

}  // namespace effebm::test
