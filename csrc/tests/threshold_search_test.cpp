// Checks the search for a row's threshold: that it ends at the right one, and how many counts of
// the row's keys it takes. The kernels run this code; here one thread has the whole row.
#include <array>
#include <cmath>
#include <functional>
#include <iostream>

#include "../cuda/row_selection.cuh"
#include "check.h"
#include "values.h"

namespace effebm::test {
namespace {

using namespace emulated::cuda_kernels;

// One thread has the row.
struct Alone {
  bool any(bool some) const { return some; }
  template <class V>
  V sum(V own) const {
    return own;
  }
  template <class V>
  V largest(V own) const {
    return own;
  }
};

// A row, and how often its keys were looked at.
template <class A>
struct Row {
  std::vector<A> values;
  mutable int looks = 0;

  template <class F>
  void each(const F& f) const {
    ++looks;
    for (size_t i = 0; i < values.size(); ++i) f(order_key(values[i]), uint32_t(i));
  }
  float measure(Key<A>& largest) const {
    float sum = 0;
    largest = 0;
    each([&](Key<A> key, uint32_t) {
      sum += float(from_bits(key));
      largest = std::max(largest, key);
    });
    return sum;
  }
  uint32_t count_from(Key<A> least) const {
    uint32_t count = 0;
    each([&](Key<A> key, uint32_t) { count += key >= least; });
    return count;
  }
};

// Selects the k largest, checks that these are the right ones, and returns the number of counts,
// without the look at the row that gives the mean for the first guess.
template <class A>
int select(const Row<A>& row, int64_t k, const char* name) {
  Alone alone;
  const auto dim = uint32_t(row.values.size());
  row.looks = 0;
  const auto search =
      find_threshold<A>(alone, row, dim, uint32_t(k), expect_normals(double(k), double(dim)));
  const Cutoff<A> cutoff = cutoff_of<A>(alone, row, search, dim);
  const int counts = row.looks - 1;

  std::vector<Key<A>> keys;
  for (A v : row.values) keys.push_back(order_key(v));
  std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.end(), std::greater<Key<A>>());
  const Key<A> threshold = keys[size_t(k - 1)];
  int64_t ties = k, kept = 0, wrong = 0;
  for (A v : row.values) ties -= order_key(v) > threshold;
  for (uint32_t i = 0; i < dim; ++i) {
    const Key<A> key = order_key(row.values[i]);
    const bool is_kept = cutoff.keeps(row.values[i], i);
    wrong += is_kept != (key > threshold || (key == threshold && ties-- > 0));
    kept += is_kept;
  }
  CHECK(wrong == 0 && kept == k, name, sizeof(A), dim, k, kept, wrong);
  return counts;
}

struct Kind {
  const char* name;
  std::function<double(std::mt19937_64&, size_t i, size_t dim)> draw;
};

double uniform(std::mt19937_64& random) { return (double(random() >> 11) + 0.5) * 0x1p-53; }
double normal(std::mt19937_64& random) { return std::normal_distribution<double>()(random); }

// The gradients for which few counts are promised.
const Kind kUsual[] = {
    {"normal", [](auto& random, size_t, size_t) { return normal(random); }},
    {"Laplace", [](auto& random, size_t,
                   size_t) { return std::log(uniform(random)) * (uniform(random) < .5 ? 1 : -1); }},
    {"uniform", [](auto& random, size_t, size_t) { return uniform(random) - .5; }},
    {"Cauchy",
     [](auto& random, size_t, size_t) { return std::tan(M_PI * (uniform(random) - .5)); }},
    {"Student t3",
     [](auto& random, size_t, size_t) {
       const double a = normal(random), b = normal(random), c = normal(random);
       return normal(random) / std::sqrt((a * a + b * b + c * c) / 3);
     }},
    {"log-normal", [](auto& random, size_t, size_t) { return std::exp(2 * normal(random)); }},
};

const Kind kAdversarial[] = {
    {"equal", [](auto&, size_t, size_t) { return -1.5; }},
    {"two values", [](auto& random, size_t, size_t) { return random() % 2 ? 1. : -2.; }},
    {"sorted", [](auto&, size_t i, size_t) { return double(i); }},
    {"falling", [](auto&, size_t i, size_t dim) { return 1 / double(dim - i); }},
    {"heavy ties", [](auto& random, size_t, size_t) { return std::round(3 * normal(random)); }},
    {"mostly zeros",
     [](auto& random, size_t, size_t) { return uniform(random) < .95 ? -0. : normal(random); }},
    {"all magnitudes",
     [](auto& random, size_t, size_t) { return std::pow(10., 70 * uniform(random) - 40); }},
    {"infinite and NaN",
     [](auto& random, size_t, size_t) {
       return random() % 4 ? normal(random) : random() % 2 ? INFINITY : NAN;
     }},
    {"all NaN", [](auto&, size_t, size_t) { return NAN; }},
    {"denormal", [](auto& random, size_t, size_t) { return normal(random) * 1e-42; }},
    {"two clusters",
     [](auto& random, size_t, size_t) {
       return (random() % 10 ? 1 : 1e30) * (1 + 1e-6 * uniform(random));
     }},
    {"powers of two", [](auto& random, size_t,
                         size_t) { return std::exp2(std::floor(200 * uniform(random)) - 100); }},
    {"one far away", [](auto& random, size_t i, size_t) { return i ? normal(random) : 1e38; }},
};

constexpr std::array<double, 6> kShares = {.001, .01, .1, .3, .5, .9};
constexpr std::array<size_t, 5> kDims = {64, 256, 1024, 3072, 16'384};

// Calls f(row, k) for rows of a kind.
template <class A, class F>
void for_rows(const Kind& kind, int rows, const F& f) {
  std::mt19937_64 random(11);
  for (size_t dim : kDims)
    for (double share : kShares)
      for (int r = 0; r < rows; ++r) {
        Row<A> row;
        for (size_t i = 0; i < dim; ++i) row.values.push_back(A(kind.draw(random, i, dim)));
        f(row, std::max<int64_t>(1, int64_t(share * double(dim))));
      }
}

template <class A>
void usual_rows() {
  for (const Kind& kind : kUsual) {
    double all = 0, rows = 0;
    int most = 0;
    for_rows<A>(kind, 10, [&](const Row<A>& row, int64_t k) {
      const int counts = select(row, k, kind.name);
      all += counts, rows += 1;
      most = std::max(most, counts);
    });
    std::cout << "counts per row, " << kind.name << ": " << all / rows << ", at most " << most
              << std::endl;
    CHECK(all / rows <= 8, kind.name, all / rows);
    CHECK(most <= 40, kind.name, most);
  }
}

template <class A>
void adversarial_rows() {
  for (const Kind& kind : kAdversarial)
    for_rows<A>(kind, 2, [&](const Row<A>& row, int64_t k) {
      const int counts = select(row, k, kind.name);
      CHECK(counts <= 40, kind.name, sizeof(A), row.values.size(), k, counts);
    });
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  usual_rows<float>();
  adversarial_rows<float>();
  usual_rows<double>();
  adversarial_rows<double>();
  return report();
}
