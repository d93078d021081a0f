// A Langevin step on rows that are hard to get right, and its results.
#pragma once

#include "../cpu/kernels.h"
#include "check.h"
#include "reference.h"

namespace effebm::test {

constexpr int64_t kRows = 4;
constexpr int64_t kKey[2] = {0x0123456789ABCDEF, (int64_t(1) << 40) + 5};

constexpr Compressor kCompressors[] = {Compressor::none,
                                       Compressor::topk,
                                       Compressor::block_sign,
                                       Compressor::random_k,
                                       Compressor::biased_random_k,
                                       Compressor::random_block,
                                       Compressor::natural};

// Gives the step a compressor of about this size.
inline void compress_by(LangevinStepParams& p, Compressor compressor, int64_t size) {
  const bool selects = compressor == Compressor::topk || compressor == Compressor::random_k ||
                       compressor == Compressor::biased_random_k ||
                       compressor == Compressor::random_block;
  p.compressor = compressor;
  p.compressor_size = compressor == Compressor::natural ? size % 23
                      : selects                         ? std::min(size, p.dim)
                                                        : std::max<int64_t>(size, 1);
}

// The results of a step. Results that were not asked for are empty.
template <class T>
struct Result {
  std::vector<T> out;
  std::vector<Compute<T>> residual, drift, row_sums;
};

template <class T>
struct Problem {
  using A = Compute<T>;
  LangevinStepParams params{};
  std::vector<T> x, grad;
  std::vector<A> residual;
  std::vector<A> scalars;      // one per chain
  std::vector<A> of_elements;  // one per element

  Problem(int64_t dim, std::initializer_list<Pattern> patterns) {
    params.dtype = Storage<T>::dtype;
    params.rows = kRows;
    params.dim = dim;
    params.key = kKey;
    params.offset = 3;
    params.first_chain = (int64_t(1) << 32) - kRows;
    params.step_size = 0.3;
    params.lower = -1.1;
    params.upper = 0.9;
    params.clip_limit = 1.3;
    std::mt19937_64 random(uint64_t(dim) + 1);
    for (Pattern pattern : patterns)
      for (int64_t i = 0; i < dim; ++i) {
        const bool tiny = pattern == Pattern::denormal;
        x.push_back(pattern_value<T>(tiny ? pattern : Pattern::plain, i, random));
        grad.push_back(pattern_value<T>(pattern, i, random));
        residual.push_back(pattern_value<A>(tiny ? pattern : Pattern::plain, i, random));
      }
    scalars = {A(0.01), A(0.5), A(0), A(2)};
    for (int64_t i = 0; i < kRows * dim; ++i)  // many zeros
      of_elements.push_back(A(i * 7 % 5) / 4);
  }

  // Gives the step size and the noise in one of seven ways.
  void give_scalars(int way) {
    params.has_noise_std = way == 1;
    params.noise_std = 0.7;
    params.step_sizes = params.noise_stds = {};
    if (way == 2) params.step_sizes = {scalars.data(), 1, 0};
    if (way == 3) params.step_sizes = {scalars.data(), 0, 0};
    if (way == 3) params.noise_stds = {scalars.data() + 1, 0, 0};
    if (way == 4) params.noise_stds = {scalars.data(), 1, 0};
    if (way == 5) params.step_sizes = {of_elements.data(), params.dim, 1};
    if (way == 6) params.step_sizes = {scalars.data(), 1, 0};
    if (way == 6) params.noise_stds = {of_elements.data(), 0, 1};
  }

  // Returns the tensors with which a step in place starts.
  Result<T> start() const {
    return {x, residual, std::vector<A>(x.size(), A(99)), std::vector<A>(2 * kRows, A(99))};
  }

  Result<T> expected(bool with_residual) const {
    Result<T> result = start();
    for (int64_t r = 0; r < params.rows; ++r) {
      const int64_t at = r * params.dim;
      reference_step<T>(params, r, grad.data() + at, result.out.data() + at,
                        with_residual ? result.residual.data() + at : nullptr,
                        result.drift.data() + at, result.row_sums.data() + 2 * r);
    }
    return result;
  }

  Result<T> step(const Kernels& table, bool with_residual, bool in_place,
                 const Execution& threads) const {
    Result<T> result = start();
    if (!in_place) result.out.assign(x.size(), of<T>(99.0));
    LangevinStepParams p = params;
    p.x = in_place ? result.out.data() : x.data();
    p.out = result.out.data();
    p.grad = grad.data();
    p.residual = with_residual ? result.residual.data() : nullptr;
    if (in_place && p.row_sums_of == RowSums::transition) p.row_sums_of = RowSums::none;
    if (p.row_sums_of == RowSums::none) result.row_sums.clear();
    if (in_place) result.drift.clear();
    p.drift = in_place ? nullptr : result.drift.data();
    p.row_sums = result.row_sums.data();
    table.langevin_step(p, threads);
    return result;
  }
};

template <class T>
void compare(const Result<T>& result, const Result<T>& expected, const LangevinStepParams& p,
             const char* name, const char* how) {
  const int64_t wrong_out = first_difference(result.out, expected.out);
  const int64_t wrong_residual = first_difference(result.residual, expected.residual);
  CHECK(wrong_out < 0 && wrong_residual < 0, name, how, sizeof(T), p.dim, int(p.compressor),
        p.compressor_size, int(p.clip), int(p.bounds), wrong_out, wrong_residual);
  const auto agree = [](const auto& got, const auto& wanted) {
    return got.empty() || first_difference(got, wanted) < 0;
  };
  CHECK(agree(result.drift, expected.drift) && agree(result.row_sums, expected.row_sums), name, how,
        sizeof(T), p.dim, int(p.compressor), p.compressor_size, int(p.clip), int(p.row_sums_of));
}

inline RowSums sums_in_turn(size_t count) { return RowSums(count % 3); }

}  // namespace effebm::test
