// Checks the packing of compressed rows by every instruction set's kernels: rows are packed as the
// documentation says, and unpack to the same bits.
#include "../core/packing.h"

#include "check.h"
#include "reference.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

// Returns a row as Block-Sign makes it: a scale of the pattern per block, and zeros in places if
// asked.
template <class A>
std::vector<A> signs_of(Pattern pattern, int64_t dim, const std::vector<int64_t>& offsets,
                        bool zeros) {
  std::mt19937_64 random(uint64_t(dim) + 7);
  std::vector<A> c(static_cast<size_t>(dim));
  for (size_t block = 0; block + 1 < offsets.size(); ++block) {
    const A scale = std::fabs(pattern_value<A>(pattern, int64_t(block), random));
    for (int64_t i = offsets[block]; i < offsets[block + 1]; ++i) {
      const uint64_t word = random();
      c[size_t(i)] = zeros && word % 5 == 0 ? A(0) : word & 1 << 20 ? -scale : scale;
    }
  }
  return c;
}

std::vector<int64_t> uniform_offsets(int64_t dim, int64_t size) {
  std::vector<int64_t> offsets;
  for (int64_t begin = 0; begin < dim; begin += size) offsets.push_back(begin);
  offsets.push_back(dim);
  return offsets;
}

constexpr Pattern kScales[] = {Pattern::plain, Pattern::special, Pattern::denormal, Pattern::signs};

// Checks rows with blocks of one size, or by offsets where block_size is 0.
template <class A>
void signs_survive(const Kernels& table, int64_t dim, int64_t block_size,
                   std::vector<int64_t> offsets, bool zeros) {
  const bool by_offsets = block_size == 0;
  if (!by_offsets) offsets = uniform_offsets(dim, block_size);
  std::vector<A> c;
  for (Pattern pattern : kScales) {
    const std::vector<A> row = signs_of<A>(pattern, dim, offsets, zeros);
    c.insert(c.end(), row.begin(), row.end());
  }
  const int64_t rows = std::size(kScales), words = words_of(dim);
  const int64_t n_blocks = int64_t(offsets.size()) - 1;
  for (const auto* threads : kAllThreads) {
    std::vector<A> input = c, scales(size_t(rows * n_blocks), A(99));
    std::vector<uint32_t> signs(size_t(rows * words), 99), zero(size_t(rows * words), 99);
    int32_t flags[2] = {};
    SignsParams p{Storage<A>::dtype, rows,          dim,          by_offsets ? 1 : block_size,
                  nullptr,           n_blocks,      input.data(), signs.data(),
                  zero.data(),       scales.data(), flags};
    if (by_offsets) p.block_offsets = offsets.data();
    table.pack_signs(p, *threads);
    int64_t wrong = 0, some_zero = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < dim; ++i) {
        const A v = c[size_t(r * dim + i)];
        const bool is_zero = bits_of(v) == 0, negative = std::signbit(v);
        const size_t word = size_t(r * words + i / 32);
        wrong += (signs[word] >> i % 32 & 1) != uint32_t(negative);
        wrong += (zero[word] >> i % 32 & 1) != uint32_t(is_zero);
        some_zero += is_zero;
      }
    CHECK(wrong == 0 && flags[0] == (some_zero > 0) && flags[1] == 0, table.name, dim, block_size,
          wrong, flags[0], flags[1]);
    const uint32_t behind = dim % 32 ? signs[size_t(words) - 1] >> dim % 32 : 0;
    const uint32_t zeros_behind = dim % 32 ? zero[size_t(words) - 1] >> dim % 32 : 0;
    CHECK(behind == 0 && zeros_behind == 0, table.name, dim, behind, zeros_behind);

    std::vector<A> output(c.size(), A(99));
    p.c = output.data();
    if (some_zero == 0) p.zeros = nullptr;
    table.unpack_signs(p, *threads);
    const int64_t different = first_difference(output, c);
    CHECK(different < 0, table.name, "unpacked", dim, block_size, different);

    input[size_t(dim) - 1] = A(77);  // another magnitude than the rest of its block
    p.c = input.data();
    p.zeros = zero.data();
    flags[1] = 0;
    table.pack_signs(p, *threads);
    if (dim > 1 && offsets[offsets.size() - 2] < dim - 1)
      CHECK(flags[1] == 1, table.name, "misfit", dim, block_size);
    if (is_emulated(&table)) break;
  }
}

template <class A>
void entries_survive(const Kernels& table, int64_t dim, int64_t k) {
  std::mt19937_64 random(uint64_t(dim * 3 + k));
  std::vector<A> c;
  for (Pattern pattern : kPatterns) {
    std::vector<A> row;
    for (int64_t i = 0; i < dim; ++i) row.push_back(pattern_value<A>(pattern, i, random));
    row = reference_topk(row, k);
    if (pattern == Pattern::plain)  // fewer than k are left
      for (size_t i = 0; i < row.size() / 2; ++i) row[i] = A(0);
    c.insert(c.end(), row.begin(), row.end());
  }
  const int64_t rows = std::size(kPatterns);
  for (const auto* threads : kAllThreads) {
    std::vector<A> values(size_t(rows * k), A(99));
    std::vector<int32_t> indices(size_t(rows * k), -1);
    int32_t too_many = 0;
    const EntriesParams p{Storage<A>::dtype, rows,           dim,      k, c.data(),
                          values.data(),     indices.data(), &too_many};
    table.pack_entries(p, *threads);
    std::vector<A> output(c.size(), A(0));
    bool ordered = true;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < k; ++j) {
        const size_t at = size_t(r * k + j);
        const bool inside = 0 <= indices[at] && indices[at] < dim;
        CHECK(inside, table.name, dim, k, r, j, indices[at]);
        if (!inside) return;
        ordered = ordered && (j == 0 || indices[at - 1] <= indices[at]);
        output[size_t(r * dim + indices[at])] = values[at];
      }
    const int64_t different = first_difference(output, c);
    CHECK(different < 0 && too_many == 0 && ordered, table.name, dim, k, different);
    if (k > 1) {
      EntriesParams fewer = p;
      fewer.k = 1;
      std::fill(values.begin(), values.end(), A(99));
      table.pack_entries(fewer, *threads);
      const bool inside =
          std::all_of(values.begin() + rows, values.end(), [](A value) { return value == A(99); });
      CHECK(too_many == 1 && inside, table.name, dim, k, inside);
    }
    if (is_emulated(&table)) break;
  }
}

template <class A>
void survive(const Kernels& table) {
  for (bool zeros : {false, true}) {
    for (int64_t dim : {1, 31, 32, 33, 1025, 3000})
      for (int64_t size : {1, 5, 64, 1000}) signs_survive<A>(table, dim, size, {}, zeros);
    signs_survive<A>(table, 3000, 0, {0, 1, 33, 2000, 2999, 3000}, zeros);
    if (!is_emulated(&table)) signs_survive<A>(table, 35'001, 64, {}, zeros);
  }
  for (int64_t dim : {1, 5, 33, 1025, 2500})
    for (int64_t k : {int64_t(0), int64_t(1), dim / 3, dim}) entries_survive<A>(table, dim, k);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  for (const auto* table : all_tables()) {
    survive<float>(*table);
    survive<double>(*table);
  }
  return report();
}
