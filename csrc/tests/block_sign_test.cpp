// Checks Block-Sign by every instruction set's kernel, with blocks that cross the kernels' chunks.
#include "../core/block_sign.h"

#include "check.h"
#include "compress.h"
#include "reference.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

// Checks rows with blocks of one size, or with blocks that offsets delimit.
template <class T>
void rows_agree(const Kernels& table, int64_t dim, int64_t block_size,
                const std::vector<int64_t>& offsets = {}) {
  std::mt19937_64 random(uint64_t(dim * 31 + block_size));
  std::vector<T> x, expected;
  for (Pattern pattern : kPatterns) {
    std::vector<Compute<T>> row;
    for (int64_t i = 0; i < dim; ++i) {
      x.push_back(pattern_value<T>(pattern, i, random));
      row.push_back(widen(x.back()));
    }
    for (auto c : reference_block_sign(row, block_size, offsets)) expected.push_back(narrow<T>(c));
  }
  const int64_t rows = std::size(kPatterns);
  for (const auto* threads : kAllThreads) {
    std::vector<T> out(x.size(), of<T>(99.0));
    CompressParams params =
        compress_params(Compressor::block_sign, block_size, rows, dim, x.data(), out.data());
    params.block_offsets = offsets.empty() ? nullptr : offsets.data();
    params.n_blocks = int64_t(offsets.size()) - 1;
    table.compress(params, *threads);
    const int64_t wrong = first_difference(out, expected);
    CHECK(wrong < 0, table.name, sizeof(T), dim, block_size, wrong / dim, wrong % dim);
    if (is_emulated(&table)) break;
  }
}

// Checks whole quads at an address that is a multiple of an element's size and no more.
template <class T>
void takes_unaligned_rows(const Kernels& table) {
  std::vector<T> x(17, of<T>(-2.0)), out(17, of<T>(7.0));
  x[1] = x[9] = of<T>(6.0);
  table.compress(compress_params(Compressor::block_sign, 4, 2, 8, x.data() + 1, out.data() + 1),
                 kSerial);
  CHECK(bits_of(out[0]) == bits_of(of<T>(7.0)));
  for (size_t i = 0; i < 16; ++i) {
    const double expected = i % 8 == 0 ? 3.0 : i % 8 < 4 ? -3.0 : -2.0;
    CHECK(bits_of(out[i + 1]) == bits_of(of<T>(expected)), table.name, i);
  }
}

void zeros_stay_zero() {
  const float inf = HUGE_VALF;
  CHECK(bits_of(signed_scale(-0.0f, inf)) == 0u);
  CHECK(bits_of(signed_scale(0.0f, -inf)) == 0u);
  CHECK(signed_scale(-3.0f, 2.0f) == -2.0f);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  zeros_stay_zero();
  for (const auto* table : all_tables())
    for_each_dtype([table](auto zero) {
      using T = decltype(zero);
      takes_unaligned_rows<T>(*table);
      for (int64_t dim : {0, 1, 5, 64, 1025, 3000})
        for (int64_t block_size : {int64_t(1), int64_t(3), int64_t(64), int64_t(1000),
                                   int64_t(1500), int64_t(1) << 40}) {
          if (is_emulated(table) && dim == 3000 && block_size < 64) continue;
          rows_agree<T>(*table, dim, block_size);
        }
      rows_agree<T>(*table, 5, 1, {0, 5});
      rows_agree<T>(*table, 5, 1, {0, 1, 3, 4, 5});
      // long and short blocks in turn, some of which end where a tile does
      rows_agree<T>(*table, 3000, 1, {0, 1, 7, 1024, 1030, 2900, 2901, 3000});
      rows_agree<T>(*table, 3000, 1, {0, 1000, 1024, 2048, 2052, 2999, 3000});
      if (is_emulated(table)) {
        // too long for the shared memory of a thread block
        if (!kForRaces && sizeof(T) == 4) rows_agree<T>(*table, 57'001, 3000);
        return;
      }
      rows_agree<T>(*table, 35'001, 1, {0, 3, 9000, 9001, 20'000, 34'000, 34'816, 35'001});
      rows_agree<T>(*table, 35'001, 1, {0, 17'408, 35'001});
      rows_agree<T>(*table, 35'001, 1, {0, 17'400, 17'420, 17'500, 35'001});
      for (int64_t block_size : {7, 64, 1000, 1500, 20'000})  // threads share these rows
        rows_agree<T>(*table, 35'001, block_size);
    });
  return report();
}
