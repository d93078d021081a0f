// Checks the log ratios of every instruction set's kernel, and of the emulated CUDA kernel, against
// the documented formula, however the chains are split.
#include "../core/log_ratio.h"

#include <limits>

#include "check.h"
#include "tables.h"
#include "threads.h"
#include "values.h"

namespace effebm::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Pattern kValues[] = {Pattern::plain, Pattern::special, Pattern::bits, Pattern::denormal};

template <class T>
std::vector<T> values(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<T> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(pattern_value<T>(kValues[random() % 4], i, random));
  return v;
}

template <class E, class A>
void all_sizes() {
  static const auto tables = all_tables();
  for (int64_t n : {1, 2, 255, 256, 257, 20'000}) {
    const std::vector<E> energy = values<E>(n, 1), new_energy = values<E>(n, 2);
    const std::vector<A> on = values<A>(2 * n, 3), back = values<A>(2 * n, 4);
    const double step_size = 0.37;
    std::vector<double> expected;
    for (size_t r = 0; r < size_t(n); ++r) {
      const double after = widen(new_energy[r]), difference = double(widen(energy[r])) - after;
      const double dots = (double(on[2 * r]) + double(back[2 * r])) / 2;
      const double squares = double(on[2 * r + 1]) - double(back[2 * r + 1]);
      const double ratio = difference + dots + step_size / 8 * squares;
      expected.push_back(after == kInfinity ? -kInfinity : ratio);
    }
    for (const auto* table : tables)
      for (const auto* threads : kAllThreads) {
        std::vector<double> out(size_t(n + 1), 7);
        table->log_ratio({Storage<E>::dtype, Storage<A>::dtype, n, 1, energy.data(),
                          new_energy.data(), on.data(), back.data(), step_size, out.data()},
                         *threads);
        const bool ends = out.back() == 7;
        out.pop_back();
        const int64_t wrong = first_difference(out, expected);
        CHECK(ends && wrong < 0, table->name, n, sizeof(E), sizeof(A), wrong);
      }
  }
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  for_each_dtype([](auto energy) {
    all_sizes<decltype(energy), float>();
    all_sizes<decltype(energy), double>();
  });
  return report();
}
