// Checks the order of magnitudes, and exact selection by every instruction set's kernel.
#include "../core/topk.h"

#include <limits>

#include "check.h"
#include "compress.h"
#include "reference.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

template <class A>
void order() {
  using Limits = std::numeric_limits<A>;
  const A smallest = Limits::denorm_min(), normal = Limits::min();
  const A rising[] = {0,
                      smallest,
                      2 * smallest,
                      normal - smallest,
                      normal,
                      1,
                      1 + Limits::epsilon(),
                      Limits::max(),
                      Limits::infinity(),
                      Limits::quiet_NaN()};
  Key<A> last = 0;
  for (A v : rising) {
    const Key<A> key = order_key(v);
    CHECK(v == 0 ? key == 0 : key > last, v, key, last);
    CHECK(order_key(-v) == key, v, key);
    last = key;
  }
  const uint64_t infinity = Storage<A>::infinity;
  const uint64_t sign = uint64_t(1) << (8 * sizeof(A) - 1);
  for (uint64_t payload : {infinity + 1, infinity + 12345, sign - 1})
    for (uint64_t nan : {payload, payload | sign})
      CHECK(order_key(of_bits<A>(nan)) == last, nan, order_key(of_bits<A>(nan)), last);
}

constexpr int64_t kSharedRow = 35'001;  // long enough for several threads to work on it
constexpr int64_t kGlobalRow = 57'001;  // too long for the shared memory of a thread block

// Checks all patterns, as the rows of one matrix, for many k against the ranks of a stable sort.
template <class T>
void selection(const Kernels& table, int64_t dim) {
  using A = Compute<T>;
  std::mt19937_64 random(uint64_t(dim) + 1);
  std::vector<T> x;
  std::vector<int64_t> ranks;
  for (Pattern pattern : kPatterns) {
    std::vector<A> row;
    for (int64_t i = 0; i < dim; ++i) {
      x.push_back(pattern_value<T>(pattern, i, random));
      row.push_back(widen(x.back()));
    }
    std::vector<int64_t> rank(row.size());
    int64_t next = 0;
    for (size_t i : ranking(row)) rank[i] = next++;
    ranks.insert(ranks.end(), rank.begin(), rank.end());
  }
  const int64_t rows = std::size(kPatterns);
  std::vector<T> out(x.size());
  const int64_t stride = is_emulated(&table) ? 1 + dim / (dim > 5000 ? 2 : 5)
                         : dim > 5000        ? dim / 7
                                             : 1;
  for (int64_t k = 0; k <= dim; k += stride) {
    std::fill(out.begin(), out.end(), of<T>(99.0));
    table.compress(compress_params(Compressor::topk, k, rows, dim, x.data(), out.data()),
                   *kAllThreads[size_t(k / stride) % 3]);
    int64_t wrong = -1;
    for (size_t i = 0; i < x.size(); ++i) {
      const T expected = ranks[i] < k ? narrow<T>(widen(x[i])) : T();
      if (bits_of(out[i]) != bits_of(expected) && wrong < 0) wrong = int64_t(i);
    }
    CHECK(wrong < 0, table.name, sizeof(T), dim, k, wrong / dim, wrong % dim);
  }
}

// Checks whole quads at an address that is a multiple of an element's size and no more.
template <class T>
void takes_unaligned_rows(const Kernels& table) {
  std::vector<T> x(17, of<T>(-2.0)), out(17, of<T>(7.0));
  table.compress(compress_params(Compressor::topk, 3, 2, 8, x.data() + 1, out.data() + 1), kSerial);
  CHECK(bits_of(out[0]) == bits_of(of<T>(7.0)));
  for (size_t i = 0; i < 16; ++i)
    CHECK(bits_of(out[i + 1]) == bits_of(i % 8 < 3 ? of<T>(-2.0) : T()), table.name, i);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  order<float>();
  order<double>();
  for (const auto* table : all_tables())
    for_each_dtype([table](auto zero) {
      using T = decltype(zero);
      for (int64_t dim : {0, 1, 2, 3, 17, 64, 300, 1030}) selection<T>(*table, dim);
      if (!is_emulated(table)) selection<T>(*table, kSharedRow);
      if (is_emulated(table) && !kForRaces && sizeof(T) == 4) selection<T>(*table, kGlobalRow);
      takes_unaligned_rows<T>(*table);
    });
  return report();
}
