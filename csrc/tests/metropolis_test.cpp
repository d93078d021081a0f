// Checks the acceptance of proposals by every instruction set's kernel, and by the emulated CUDA
// kernel, against its definition, however the chains are split; and the exponential against a wider
// one.
#include "../core/metropolis.h"

#include <limits>

#include "check.h"
#include "tables.h"
#include "threads.h"
#include "values.h"

namespace effebm::test {
namespace {

constexpr int64_t kKey[2] = {-0x123456789ABCDEF, (int64_t(1) << 40) + 5};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void the_exponential_is_within_an_ulp() {
  std::mt19937_64 random(1);
  double worst = 0;
  const auto look = [&](double x) {
    const double got = exp_not_positive(x);
    const long double exact = std::exp(static_cast<long double>(x));
    const double ulp = std::nextafter(double(exact), kInfinity) - double(exact);
    worst = std::max(worst, double(std::abs(static_cast<long double>(got) - exact) / ulp));
  };
  for (int i = 0; i < 300'000; ++i) {
    const double u = uniform(random);
    look(-u);
    look(-750 * u);
    look(-std::ldexp(1 + u, int(random() % 70) - 60));
    look(-745.2 + 40 * u);  // where it underflows
  }
  CHECK(worst < 1, worst);
  CHECK(exp_not_positive(0.0) == 1 && exp_not_positive(-0.0) == 1);
  CHECK(exp_not_positive(-745.13) == 0x1p-1074 && exp_not_positive(-745.14) == 0);
  CHECK(exp_not_positive(-1e308) == 0 && exp_not_positive(-kInfinity) == 0);
}

void acceptance_is_a_probability() {
  for (double infinite : {kInfinity, -kInfinity, std::nan("")})
    for (double ratio : {-1.0, 0.0, 1.0, kInfinity}) CHECK(acceptance(ratio, infinite) == 0, ratio);
  CHECK(acceptance(std::nan(""), 1) == 0 && acceptance(-kInfinity, 1) == 0);
  CHECK(acceptance(0, 1) == 1 && acceptance(3, -1) == 1 && acceptance(kInfinity, 1) == 1);
  CHECK(acceptance(-1, 1) == exp_not_positive(-1));
}

// Chains with proposals. The rows of the old state hold even words, of the proposals odd ones.
template <class E>
struct Problem {
  int64_t rows, dim;
  std::vector<double> log_ratio;
  std::vector<E> energy, new_energy;
  std::vector<uint32_t> x, drift, new_x, new_drift;

  Problem(int64_t rows, int64_t dim) : rows(rows), dim(dim) {
    std::mt19937_64 random(uint64_t(rows * 10'000 + dim));
    for (int64_t r = 0; r < rows; ++r) {
      const double special[] = {kInfinity, -kInfinity, std::nan(""), -1e-310};
      log_ratio.push_back(r % 5 == 4 ? special[r / 5 % 4] : 2 * uniform(random) - 1.5);
      energy.push_back(pattern_value<E>(Pattern::plain, r, random));
      const Pattern pattern = r % 7 == 6 ? Pattern::special : Pattern::plain;
      new_energy.push_back(pattern_value<E>(pattern, r, random));
    }
    for (auto* words : {&x, &drift, &new_x, &new_drift})
      for (int64_t i = 0; i < rows * dim; ++i)
        words->push_back(uint32_t(random()) << 1 | (words == &new_x || words == &new_drift));
  }

  // Returns whether chain r takes its proposal, and how probable that was.
  std::pair<bool, double> expected(int64_t r) const {
    const auto at = size_t(r);
    const bool usable = std::isfinite(widen(new_energy[at])) && !std::isnan(log_ratio[at]);
    const double probability = usable ? exp_not_positive(std::min(0.0, log_ratio[at])) : 0;
    const Stream stream = make_stream(uint64_t(kKey[0]), uint64_t(kKey[1]) + 3, Purpose(2));
    const uint32_t chain = uint32_t((int64_t(1) << 32) - rows + r);
    return {core::uniform(stream, chain) < probability, probability};
  }

  // `odd` moves the start of an array away from where vectors may begin.
  void check(const Kernels& table, const Execution& threads, int odd) const {
    std::vector<uint32_t> in = x, to_x = new_x, to_drift = new_drift;
    for (auto* words : {&in, &to_x, &to_drift}) words->insert(words->begin(), size_t(odd), 9);
    for (auto* words : {&in, &to_x, &to_drift}) words->push_back(9);
    std::vector<E> kept(size_t(rows + 1), of<E>(9));
    std::vector<double> probability(size_t(rows + 1), 9);
    MetropolisParams p{};
    p.energy_dtype = Storage<E>::dtype;
    p.rows = rows;
    p.dim = 1;
    p.log_ratio = log_ratio.data();
    p.energy = energy.data();
    p.new_energy = new_energy.data();
    p.energy_out = kept.data();
    p.probability = probability.data();
    if (dim > 0) {
      p.dim = dim;
      p.x = in.data() + odd;
      p.drift = drift.data();
      p.new_x = to_x.data() + odd;
      p.new_drift = to_drift.data() + odd;
    }
    p.key = kKey;
    p.offset = 3;
    p.first_chain = (int64_t(1) << 32) - rows;
    table.metropolis(p, threads);
    int64_t wrong = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const auto [accepted, chance] = expected(r);
      const auto at = size_t(r);
      wrong += !same(kept[at], accepted ? new_energy[at] : energy[at]);
      wrong += !same(probability[at], chance);
      for (size_t i = size_t(r * dim); i < size_t((r + 1) * dim); ++i) {
        wrong += to_x[i + size_t(odd)] != (accepted ? new_x[i] : x[i]);
        wrong += to_drift[i + size_t(odd)] != (accepted ? new_drift[i] : drift[i]);
      }
    }
    const bool ends = to_x.back() == 9 && to_drift.back() == 9 && probability.back() == 9 &&
                      same(kept.back(), of<E>(9));
    CHECK(wrong == 0 && ends, table.name, rows, dim, odd, sizeof(E), wrong);
  }
};

template <class E>
void all_sizes() {
  static const auto tables = all_tables();
  for (int64_t dim : {0, 1, 3, 4, 64, 255, 1024})
    for (int64_t rows : {1, 5, 257}) {
      const Problem<E> problem(rows, dim);
      for (const auto* table : tables)
        for (const auto* threads : kAllThreads)
          for (int odd : {0, 1})
            if (!is_emulated(table) || rows * dim < 10'000) problem.check(*table, *threads, odd);
    }
}

void chains_go_either_way() {
  int64_t accepted = 0;
  const Problem<float> problem(257, 1);
  for (int64_t r = 0; r < 257; ++r) accepted += problem.expected(r).first;
  CHECK(accepted > 60 && accepted < 197, accepted);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  the_exponential_is_within_an_ulp();
  acceptance_is_a_probability();
  chains_go_either_way();
  for_each_dtype([](auto energy) { all_sizes<decltype(energy)>(); });
  return report();
}
