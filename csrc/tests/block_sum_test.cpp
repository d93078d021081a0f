// Checks the sums and scans of a thread block by kernels of their own, with more terms than the
// rows of other tests have.
#include "../cuda/block.cuh"
#include "check.h"
#include "reference.h"
#include "tables.h"

namespace effebm::test {
namespace {

using emulated::cuda_kernels::kThreads;

// Every thread writes both results: of all terms, and of all but the first.
template <class A>
__global__ void sum_terms(const A* terms, int64_t n, A* sums) {
  namespace kernels = emulated::cuda_kernels;
  const A all = kernels::block_sum<A>(n, [=](int64_t i) { return terms[i]; });
  const A rest = kernels::block_sum<A>(n - 1, [=](int64_t i) { return terms[i + 1]; });
  sums[2 * threadIdx.x] = all;
  sums[2 * threadIdx.x + 1] = rest;
}

template <class A>
void sums_of_many_terms() {
  std::mt19937_64 random(5);
  for (int64_t n : {2, 1024, 1025, 8193, 20'000, (1 << 20) + 5000}) {
    if (kForRaces && n > 100'000) continue;
    std::vector<A> terms, sums(2 * kThreads);
    for (int64_t i = 0; i < n; ++i) terms.push_back(A(6 * uniform(random) - 3));
    constexpr auto kernel = &sum_terms<A>;
    EFFEBM_LAUNCH(kernel, 1, kThreads, nullptr, terms.data(), n, sums.data());
    const A all = direct_sum(terms);
    const A rest = direct_sum(std::vector<A>(terms.begin() + 1, terms.end()));
    int64_t wrong = 0;
    for (size_t i = 0; i < sums.size(); ++i) wrong += sums[i] != (i % 2 ? rest : all);
    CHECK(wrong == 0, sizeof(A), n, wrong, sums[0], all);
  }
}

__global__ void scan_values(const uint32_t* values, uint32_t* before, uint32_t* total) {
  for (int round = 0; round < 2; ++round) {
    const auto at = unsigned(round * kThreads) + threadIdx.x;
    const auto scan = emulated::cuda_kernels::block_scan(values[at]);
    before[at] = scan.before;
    total[at] = scan.total;
  }
}

void scans() {
  std::mt19937_64 random(6);
  std::vector<uint32_t> values, before(2 * kThreads), total(2 * kThreads);
  for (int i = 0; i < 2 * kThreads; ++i) values.push_back(uint32_t(random() % 1000));
  constexpr auto kernel = &scan_values;
  EFFEBM_LAUNCH(kernel, 1, kThreads, nullptr, values.data(), before.data(), total.data());
  for (size_t round = 0; round < 2; ++round) {
    const size_t begin = round * kThreads;
    uint32_t sum = 0, all = 0;
    for (size_t i = begin; i < begin + kThreads; ++i) all += values[i];
    for (size_t i = begin; i < begin + kThreads; sum += values[i++])
      CHECK(before[i] == sum && total[i] == all, i, before[i], sum, total[i], all);
  }
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  sums_of_many_terms<float>();
  sums_of_many_terms<double>();
  scans();
  return report();
}
