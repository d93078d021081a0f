// Checks the generator against its authors' known answers, and the streams cut out of its counter.
#include "../core/philox.h"

#include <set>
#include <vector>

#include "check.h"

namespace effebm::test {
namespace {

using namespace core;

bool equal(const Words& a, const Words& b) { return !memcmp(a.w, b.w, sizeof a.w); }

void known_answers() {
  struct Answer {
    Words counter;
    uint32_t key0, key1;
    Words out;
  };
  constexpr uint32_t kOnes = 0xFFFFFFFFu;
  const Answer answers[] = {
      {{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}},
      {{{kOnes, kOnes, kOnes, kOnes}},
       kOnes,
       kOnes,
       {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}},
      {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
       0xa4093822u,
       0x299f31d0u,
       {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}}};
  for (const Answer& a : answers) {
    const Words out = philox4x32_10(a.counter, a.key0, a.key1);
    for (int i = 0; i < 4; ++i) CHECK(out.w[i] == a.out.w[i], i, out.w[i], a.out.w[i]);
  }
}

void counter_layout() {
  const uint64_t seed = 0x0123456789ABCDEFu, offset = 0x00AABBCCDDEEFF11u;
  const Words drawn = draw(make_stream(seed, offset, Purpose::directions), 7, 9);
  const Words direct = philox4x32_10({{9, 7, 0xDDEEFF11u, 0x04AABBCCu}}, 0x89ABCDEFu, 0x01234567u);
  CHECK(equal(drawn, direct), drawn.w[0], direct.w[0]);
}

void streams_differ() {
  constexpr Purpose kPurposes[] = {Purpose::noise, Purpose::compression, Purpose::acceptance,
                                   Purpose::resampling, Purpose::directions};
  constexpr uint64_t kWide[] = {0, 1, uint64_t(1) << 31, uint64_t(1) << 32, uint64_t(1) << 55};
  constexpr uint32_t kNarrow[] = {0, 1, 0x80000000u, 0xFFFFFFFFu};
  std::set<std::vector<uint32_t>> seen;
  size_t count = 0;
  for (Purpose purpose : kPurposes)
    for (uint64_t seed : kWide)
      for (uint64_t offset : kWide)
        for (uint32_t chain : kNarrow)
          for (uint32_t quad : kNarrow) {
            const Words r = draw(make_stream(seed, offset, purpose), chain, quad);
            seen.insert({r.w[0], r.w[1], r.w[2], r.w[3]});
            ++count;
          }
  CHECK(seen.size() == count, seen.size(), count);
}

void offset_wraps() {
  constexpr uint64_t kModulus = uint64_t(1) << 56;
  static_assert(uint64_t(1) << kOffsetBits == kModulus);
  for (Purpose purpose : {Purpose::noise, Purpose::directions}) {
    const Stream last = make_stream(3, ~uint64_t(0), purpose);
    CHECK(last.c3 >> 24 == uint32_t(purpose), last.c3);
    CHECK(last.c2 == 0xFFFFFFFFu && (last.c3 & 0x00FFFFFFu) == 0x00FFFFFFu, last.c2, last.c3);
    for (uint64_t offset : {uint64_t(0), uint64_t(5), kModulus - 1}) {
      const Words first = draw(make_stream(3, offset, purpose), 1, 2);
      const Words wrapped = draw(make_stream(3, offset + kModulus, purpose), 1, 2);
      CHECK(equal(first, wrapped), offset, first.w[0], wrapped.w[0]);
    }
  }
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  known_answers();
  counter_layout();
  streams_differ();
  offset_wraps();
  return report();
}
