#include "../core/packing.h"

#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

// Calls f(block, begin, end) for the parts of blocks that lie in [begin, end) of a row.
template <class F>
void for_blocks(const Blocks& blocks, int64_t begin, int64_t end, const F& f) {
  if (begin == end) return;
  for (int64_t block = blocks.at(begin); begin < end; ++block) {
    const int64_t stop = std::min(blocks.end(block), end);
    f(block, begin, stop);
    begin = stop;
  }
}

template <class A>
bool all_of_scale(const A* c, int64_t n, A scale) {
  bool all = true;
  for (int64_t i = 0; i < n; ++i) all &= is_of_scale(c[i], scale);
  return all;
}

// Packs n <= 32 entries into a word of each kind, and returns whether some of them are zero.
template <class A>
bool pack_word(const A* c, int n, uint32_t& signs, uint32_t& zeros) {
  uint32_t s = 0, z = 0;
  for (int i = 0; i < n; ++i) {
    const auto bits = to_bits(c[i]);
    s |= uint32_t(bits >> (8 * sizeof(A) - 1)) << i;
    z |= uint32_t(bits == 0) << i;
  }
  signs = s;
  zeros = z;
  return z != 0;
}

// Threads may raise a flag at the same time.
void raise_flag(int32_t& flag) { __atomic_store_n(&flag, 1, __ATOMIC_RELAXED); }

template <class A>
void pack_signs(const SignsParams& p, const Threads& threads) {
  const Blocks blocks = blocks_of(p);
  const int64_t words = words_of(p.dim);
  for_rows<kPacking>(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch&) {
    const A* c = static_cast<const A*>(p.c) + r * p.dim;
    A* scales = static_cast<A*>(p.scales) + r * p.n_blocks;
    for (int64_t b = 0; b < p.n_blocks; ++b)
      scales[b] = scale_of_packed(c, blocks.begin(b), blocks.end(b));
    team.run(p.dim, kChunk, [&](int, int64_t begin, int64_t end) {
      bool some_zero = false, all_fit = true;
      for_blocks(blocks, begin, end, [&](int64_t block, int64_t from, int64_t to) {
        all_fit &= all_of_scale(c + from, to - from, scales[block]);
      });
      for (int64_t i = begin; i < end; i += kWordBits) {
        const int64_t word = r * words + i / kWordBits;
        some_zero |= pack_word(c + i, int(std::min<int64_t>(kWordBits, end - i)), p.signs[word],
                               p.zeros[word]);
      }
      if (some_zero) raise_flag(p.flags[0]);
      if (!all_fit) raise_flag(p.flags[1]);
    });
  });
}

template <class A>
void unpack_signs(const SignsParams& p, const Threads& threads) {
  const Blocks blocks = blocks_of(p);
  const int64_t words = words_of(p.dim);
  for_rows<kPacking>(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch&) {
    A* c = static_cast<A*>(p.c) + r * p.dim;
    const A* scales = static_cast<const A*>(p.scales) + r * p.n_blocks;
    const uint32_t* signs = p.signs + r * words;
    const uint32_t* zeros = p.zeros ? p.zeros + r * words : nullptr;
    const auto bit = [](const uint32_t* of, int64_t i) { return of[i / 32] >> (i % 32) & 1; };
    team.run(p.dim, kChunk, [&](int, int64_t begin, int64_t end) {
      for_blocks(blocks, begin, end, [&](int64_t block, int64_t from, int64_t to) {
        const A scale = scales[block];
        for (int64_t i = from; i < to; ++i)
          c[i] = unpacked(scale, bit(signs, i), zeros && bit(zeros, i));
      });
    });
  });
}

template <class A>
void pack_entries(const EntriesParams& p, const Threads& threads) {
  const auto rows = [&](int64_t first, int64_t last) {
    const KeepDenormals keep_denormals;
    for (int64_t r = first; r < last; ++r) {
      const A* c = static_cast<const A*>(p.c) + r * p.dim;
      A* values = static_cast<A*>(p.values) + r * p.k;
      int32_t* indices = p.indices + r * p.k;
      int64_t count = 0;
      for (int64_t i = 0; i < p.dim; ++i) {
        if (to_bits(c[i]) == 0) continue;
        if (count < p.k) {
          values[count] = c[i];
          indices[count] = int32_t(i);
        }
        ++count;
      }
      if (count > p.k) raise_flag(p.flags[0]);
      const A last_value = count > 0 && p.k > 0 ? values[std::min(count, p.k) - 1] : A(0);
      const int32_t last_index = count > 0 && p.k > 0 ? indices[std::min(count, p.k) - 1] : 0;
      for (; count < p.k; ++count) {
        values[count] = last_value;
        indices[count] = last_index;
      }
    }
  };
  threads.run(p.rows, kCostOfRow + kPacking * p.dim, rows);
}

}  // namespace

void pack_signs(const SignsParams& p, const Execution& on) {
  dispatch_compute(p.dtype, [&](auto zero) { pack_signs<decltype(zero)>(p, on.threads); });
}

void unpack_signs(const SignsParams& p, const Execution& on) {
  dispatch_compute(p.dtype, [&](auto zero) { unpack_signs<decltype(zero)>(p, on.threads); });
}

void pack_entries(const EntriesParams& p, const Execution& on) {
  dispatch_compute(p.dtype, [&](auto zero) { pack_entries<decltype(zero)>(p, on.threads); });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
