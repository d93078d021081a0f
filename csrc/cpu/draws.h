// Random numbers for a stretch of a row, many quads at a time.
#pragma once

#include <algorithm>

#include "../core/normal.h"
#include "simd.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

using namespace core;

// The order of the quads of a group in which interleaving the four words of every quad moves
// nothing between lanes of 128 bits.
template <int kGroup>
struct GroupOrder {
  uint64_t quad[2][kGroup / 2];  // the quads at even positions, and at odd ones
  constexpr GroupOrder() : quad() {
    for (int i = 0; i < kGroup; ++i) quad[i % 2][i / 2] = uint64_t(i % 4 * (kGroup / 4) + i / 4);
  }
};

// The random numbers of one chain at one step, of one purpose.
class Draws {
 public:
  Draws(const Stream& stream, uint32_t chain) : stream_(stream), chain_(chain) {
    for (int round = 0; round < kPhiloxRounds; ++round) {
      keys_[0][round] = stream.key0 + uint32_t(round) * kPhiloxWeyl0;
      keys_[1][round] = stream.key1 + uint32_t(round) * kPhiloxWeyl1;
    }
  }

  // Sets normals[0 .. 4 * quads) to the noise of elements 4 * first_quad onwards. `normals` must
  // have room for a multiple of 4 * kGroup.
  void normals(uint32_t first_quad, int quads, float* normals) const {
    for (int q = 0; q < quads; q += kBatch) {
      alignas(64) uint32_t words[4][kBatch];
      draw_batch(first_quad + uint32_t(q), words);
      for (int at = 0; at < kBatch && q + at < quads; at += kGroup) {
        alignas(64) float n[4][kGroup];
        for (int i = 0; i < kGroup; ++i) {
          box_muller(words[0][at + i], words[1][at + i], n[0][i], n[1][i]);
          box_muller(words[2][at + i], words[3][at + i], n[2][i], n[3][i]);
        }
        interleave(n, normals + 4 * (q + at));
      }
    }
  }

  // Likewise the words of the elements.
  void words(uint32_t first_quad, int quads, uint32_t* words) const {
    for (int q = 0; q < quads; q += kBatch) {
      alignas(64) uint32_t drawn[4][kBatch];
      draw_batch(first_quad + uint32_t(q), drawn);
      for (int at = 0; at < kBatch && q + at < quads; at += kGroup) {
        alignas(64) uint32_t group[4][kGroup];
        for (int i = 0; i < 4; ++i) std::copy_n(drawn[i] + at, kGroup, group[i]);
        interleave(group, words + 4 * (q + at));
      }
    }
  }

 private:
#if defined(EFFEBM_SIMD)
  // A group of quads fills a vector, two in every lane of 64 bits. A batch has four vectors of
  // counters, as each round of a vector waits for the round before it.
  static constexpr int kGroup = int(sizeof(simd::Vector) / sizeof(uint32_t));
  static constexpr int kBatch = 2 * kGroup;

  static constexpr GroupOrder<kGroup> kOrder{};

  void draw_batch(uint32_t first_quad, uint32_t (&words)[4][kBatch]) const {
    using namespace simd;
    constexpr int kVectors = 4;
    Vector c[kVectors][4];
    for (int v = 0; v < kVectors; ++v) {
      const uint32_t group = first_quad + uint32_t(v / 2 * kGroup);
      c[v][0] = add64(load(kOrder.quad[v % 2]), broadcast64(group));
      c[v][1] = broadcast64(chain_);
      c[v][2] = broadcast64(stream_.c2);
      c[v][3] = broadcast64(stream_.c3);
    }
    const Vector m0 = broadcast64(kPhiloxMul0), m1 = broadcast64(kPhiloxMul1);
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const Vector key0 = broadcast64(keys_[0][round]), key1 = broadcast64(keys_[1][round]);
#pragma GCC unroll 4
      for (auto& counter : c) {  // products ignore what else is in the upper halves
        const Vector p0 = product(counter[0], m0), p1 = product(counter[2], m1);
        counter[0] = xor3(upper_half(p1), counter[1], key0);
        counter[1] = p1;
        counter[2] = xor3(upper_half(p0), counter[3], key1);
        counter[3] = p0;
      }
    }
    for (int i = 0; i < 4; ++i)
      for (int v = 0; v < kVectors; v += 2)
        store(words[i] + v / 2 * kGroup, join_halves(c[v][i], c[v + 1][i]));
  }

  template <class V>
  static void interleave(const V (&n)[4][kGroup], V* out) {
    using namespace simd;
    const Floats n0 = load_floats(n[0]), n1 = load_floats(n[1]);
    const Floats n2 = load_floats(n[2]), n3 = load_floats(n[3]);
    const Floats low01 = zip_low(n0, n1), low23 = zip_low(n2, n3);
    const Floats high01 = zip_high(n0, n1), high23 = zip_high(n2, n3);
    store(out, zip_pairs_low(low01, low23));
    store(out + kGroup, zip_pairs_high(low01, low23));
    store(out + 2 * kGroup, zip_pairs_low(high01, high23));
    store(out + 3 * kGroup, zip_pairs_high(high01, high23));
  }
#else
  static constexpr int kGroup = 8, kBatch = kGroup;

  void draw_batch(uint32_t first_quad, uint32_t (&words)[4][kBatch]) const {
    for (int q = 0; q < kBatch; ++q) {
      const Words r = draw(stream_, chain_, first_quad + uint32_t(q));
      for (int i = 0; i < 4; ++i) words[i][q] = r.w[i];
    }
  }

  template <class V>
  static void interleave(const V (&n)[4][kGroup], V* out) {
    for (int q = 0; q < kGroup; ++q)
      for (int i = 0; i < 4; ++i) out[4 * q + i] = n[i][q];
  }
#endif

  Stream stream_;
  uint32_t chain_;
  uint32_t keys_[2][kPhiloxRounds];
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
