// Checks every instruction set's fused step against the plain transcription, bit for bit, however
// the rows are split, in place or not.
#include "../core/langevin_step.h"

#include "check.h"
#include "step_problem.h"
#include "tables.h"
#include "threads.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace effebm::test {
namespace {

// Sanitizers are slow. The share has no divisor in common with the numbers of options, so that what
// is left has all values of every option.
constexpr size_t kShare = kSanitized ? 5 : 1;

template <class T>
void all_options(int64_t dim) {
  static const auto tables = all_tables();
  Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::denormal, Pattern::special});
  LangevinStepParams& p = problem.params;
  size_t turn = 0;
  for (Compressor compressor : kCompressors)
    for (bool with_residual : {false, true})
      for (Clip clip : {Clip::none, Clip::value, Clip::norm})
        for (Bounds bounds : {Bounds::none, Bounds::clamp, Bounds::reflect}) {
          const size_t now = turn++, own = now + size_t(p.dtype);  // types take other ones
          if (own % kShare) continue;
          compress_by(p, compressor, int64_t(now) % 3 + dim * 2 / 5);
          p.clip = clip;
          p.bounds = bounds;
          p.row_sums_of = sums_in_turn(now);
          p.stochastic_rounding = sizeof(T) == 2 && now % 2;
          p.averaged_noise = now % 3 == 1;
          problem.give_scalars(int(now % 7));
          const Result<T> expected = problem.expected(with_residual);
          for (const auto* table : tables) {
            if (is_emulated(table) && dim > 5 && dim != 65 && dim != 1025) continue;
            if (is_emulated(table) && dim == 0) continue;  // nothing is launched
            if (is_emulated(table) && dim > 65 && !kSanitized && own % 3) continue;  // slow
            const Execution& threads = *kAllThreads[1 + now % 2];
            compare(problem.step(*table, with_residual, false, kSerial), expected, p, table->name,
                    "serial");
            compare(problem.step(*table, with_residual, true, threads), expected, p, table->name,
                    "threads, in place");
          }
        }
}

// Checks steps in rows of whole vectors that have no option, for which there are kernels of their
// own, and steps that have one, or report.
template <class T>
void one_option(const Kernels& table) {
  for (int64_t dim : {12, 64, 2048}) {
    Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::special, Pattern::plain});
    LangevinStepParams& p = problem.params;
    int turn = 0;
    for (Compressor compressor : kCompressors)
      for (int64_t size : {int64_t(4), int64_t(8), int64_t(20), int64_t(1) << 40})
        for (int option = 0; option < 8; ++option) {
          if (kForRaces && ++turn % 8) continue;
          compress_by(p, compressor, size);
          problem.give_scalars(option == 7 ? 5 : option % 5);
          p.clip = option == 1 ? Clip::value : Clip::none;
          p.bounds = option == 2 ? Bounds::reflect : Bounds::none;
          p.stochastic_rounding = sizeof(T) == 2 && option == 5;
          p.averaged_noise = option == 6;
          const bool with_residual = option == 3, reports = option == 4;
          compare(problem.step(table, with_residual, !reports, kSerial),
                  problem.expected(with_residual), p, table.name, "one option");
        }
  }
}

// Checks rows that several threads share, with error feedback, in place and not.
template <class T>
void shared_rows(const std::vector<const Kernels*>& tables) {
  Problem<T> problem(35'001, {Pattern::plain, Pattern::signs, Pattern::bits});
  LangevinStepParams& p = problem.params;
  p.rows = 3;
  size_t turn = 0;
  for (Compressor compressor : kCompressors)
    for (int64_t size : {3, 1000, 3000, 20'000}) {
      const size_t now = turn++;
      if ((now + size_t(p.dtype)) % kShare) continue;
      compress_by(p, compressor, size);
      p.clip = now % 2 ? Clip::value : Clip::norm;
      p.row_sums_of = sums_in_turn(now);
      const Result<T> expected = problem.expected(true);
      for (const auto* table : tables)
        for (const auto* threads : kAllThreads)
          compare(problem.step(*table, true, threads != &kParallel, *threads), expected, p,
                  table->name, "shared");
    }
}

// Checks that a drift without a state, but with its move, equals the drift of a step, and so do the
// sums. The moves of one length are not where vectors may begin.
template <class T>
void drift_alone(const Kernels& table) {
  using A = Compute<T>;
  for (int64_t dim : {5, 1024, 2500}) {
    Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::special, Pattern::plain});
    LangevinStepParams& p = problem.params;
    p.clip = Clip::norm;
    p.row_sums_of = RowSums::transition;
    for (Compressor compressor : kCompressors) {
      compress_by(p, compressor, 1 + dim / 3);
      const Result<T> step = problem.step(table, false, false, kSerial);
      const bool odd = dim == 1024;
      std::vector<A> delta(odd, A(7));
      for (size_t i = 0; i < problem.x.size(); ++i)
        delta.push_back(widen(step.out[i]) - widen(problem.x[i]));
      Result<T> alone{step.out, step.residual, std::vector<A>(step.drift.size(), A(99)),
                      std::vector<A>(step.row_sums.size(), A(99))};
      LangevinStepParams q = p;
      if (compressor < Compressor::random_k) q.key = nullptr;  // the others draw
      q.grad = problem.grad.data();
      q.delta = delta.data() + odd;
      q.drift = alone.drift.data();
      q.row_sums = alone.row_sums.data();
      table.langevin_step(q, kSerial);
      compare(alone, step, p, table.name, "drift alone");
      q.delta = nullptr;
      table.langevin_step(q, kSerial);
      for (int64_t r = 0; r < kRows; ++r)
        CHECK(alone.row_sums[size_t(2 * r)] == 0, table.name, dim, r);
    }
  }
}

// Checks rows of whole quads in arrays of which each in turn begins at an odd element.
template <class T>
void takes_unaligned_rows(const Kernels& table) {
  using A = Compute<T>;
  constexpr int64_t kDim = 64, kSize = kRows * kDim;
  Problem<T> problem(kDim, {Pattern::plain, Pattern::plain, Pattern::signs, Pattern::plain});
  LangevinStepParams p = problem.params;
  for (Compressor compressor : kCompressors)
    for (int odd = 0; odd < 5; ++odd) {
      compress_by(problem.params, compressor, 20);
      compress_by(p, compressor, 20);
      const Result<T> expected = problem.expected(true);
      const auto shifted = [](const auto& values, bool shift) {
        auto copy = values;
        copy.insert(copy.begin(), shift, of<typename std::decay_t<decltype(copy)>::value_type>(7));
        return copy;
      };
      const std::vector<T> x = shifted(problem.x, odd == 0);
      const std::vector<T> grad = shifted(problem.grad, odd == 1);
      std::vector<A> residual = shifted(problem.residual, odd == 2);
      std::vector<T> out(size_t(kSize + 1), of<T>(99.0));
      std::vector<A> drift(size_t(kSize + 1), A(99));
      p.x = x.data() + (odd == 0);
      p.grad = grad.data() + (odd == 1);
      p.residual = residual.data() + (odd == 2);
      p.out = out.data() + (odd == 3);
      p.drift = drift.data() + (odd == 4);
      table.langevin_step(p, kSerial);
      out.erase(odd == 3 ? out.begin() : out.end() - 1);
      drift.erase(odd == 4 ? drift.begin() : drift.end() - 1);
      if (odd == 2) residual.erase(residual.begin());
      compare({out, residual, drift, {}}, expected, p, table.name, "unaligned");
    }
}

void bounds_keep_nan() {
  CHECK(std::isnan(clamp(NAN, -1.0f, 1.0f)) && std::isnan(reflect(NAN, -1.0f, 1.0f)));
  CHECK(std::isnan(clamp(double(NAN), -1.0, 1.0)) && std::isnan(reflect(double(NAN), -1.0, 1.0)));
  CHECK(clamp(-HUGE_VAL, -1.0, 1.0) == -1.0 && clamp(HUGE_VAL, -1.0, 1.0) == 1.0);
  CHECK(reflect(-1.25, -1.0, 1.0) == -0.75 && reflect(1.25, -1.0, 1.0) == 0.75);
  CHECK(reflect(0.5, -1.0, 1.0) == 0.5 && reflect(1.0, -1.0, 1.0) == 1.0);
  // too far out to be mirrored inside
  CHECK(reflect(-9.0, -1.0, 1.0) == 1.0 && reflect(HUGE_VAL, -1.0, 1.0) == -1.0);
  CHECK(reflect(-5.0, -HUGE_VAL, HUGE_VAL) == -5.0);
}

#ifdef __x86_64__
// Checks values that are all denormal, without noise and with denormal steps and noise: the results
// would be zero everywhere if the caller's mode counted.
template <class T>
void denormals_survive(const Kernels& table) {
  constexpr unsigned kFlush = 0x8040, kStatus = 0x3F;
  constexpr Pattern kTiny = Pattern::denormal;
  Problem<T> problem(1025, {kTiny, kTiny, kTiny, kTiny});
  LangevinStepParams& p = problem.params;
  p.has_noise_std = true;
  for (double scale : {0.5, std::is_same_v<Compute<T>, float> ? 0x1p-140 : 0x1p-1060})
    for (Compressor compressor : kCompressors) {
      compress_by(p, compressor, 100);
      p.step_size = scale;
      p.noise_std = scale < 0.5 ? scale : 0;
      p.bounds = Bounds::clamp;
      const Result<T> expected = problem.expected(true);
      int64_t denormal = 0;
      for (T v : expected.out) denormal += is_denormal(v);
      CHECK(denormal > 1000, denormal);

      const unsigned saved = _mm_getcsr();
      _mm_setcsr(saved | kFlush);
      const Result<T> result = problem.step(table, true, false, kParallel);
      const unsigned after = _mm_getcsr();
      _mm_setcsr(saved);
      CHECK((after & ~kStatus) == ((saved | kFlush) & ~kStatus), after, saved);
      compare(result, expected, p, table.name, "flush to zero");
    }
}
#endif

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  bounds_keep_nan();
  for_each_dtype([](auto zero) {
    for (int64_t dim : {0, 1, 3, 4, 5, 63, 64, 65, 1023, 1024, 1025, 3000})
      all_options<decltype(zero)>(dim);
  });
  if (!std::getenv("EFFEBM_TEST_EMULATED_ONLY"))
    for_each_dtype([](auto zero) { shared_rows<decltype(zero)>(supported_tables()); });
  for (const auto* table : all_tables())
    for_each_dtype([table](auto zero) {
      one_option<decltype(zero)>(*table);
      takes_unaligned_rows<decltype(zero)>(*table);
      drift_alone<decltype(zero)>(*table);
    });
#ifdef __x86_64__
  for (const auto* table : all_tables())
    for_each_dtype([table](auto zero) { denormals_survive<decltype(zero)>(*table); });
#else
  std::cout << "skipped: flush-to-zero set by the caller, which is tested on x86-64" << std::endl;
#endif
  return report();
}
