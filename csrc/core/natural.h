// Natural compression: a float is rounded at random to one of its two neighbours with fewer bits of
// mantissa, so that the mean is the float (Horvath et al., arXiv 1905.10988, where none are left).
#pragma once

#include "dtype.h"
#include "topk.h"

namespace effebm::inline EFFEBM_ISA::core {

template <class A>
class Natural {
 public:
  // The bits of mantissa that stay.
  EFFEBM_HD explicit Natural(int64_t mantissa_bits) : dropped_(kMantissa - int(mantissa_bits)) {}

  // Carries from the dropped bits go into those that stay, and on into the exponent. A number above
  // the largest of the short ones becomes this one; infinities stay, and NaN becomes the
  // one that has nothing in the lower bits.
  EFFEBM_HD A operator()(A u, uint32_t word) const {
    const Key<A> sign = to_bits(u) & ~kMagnitude, magnitude = to_bits(u) & kMagnitude;
    if (magnitude > KeyOf<A>::infinity) return from_bits(KeyOf<A>::infinity | kQuiet);
    if (magnitude == KeyOf<A>::infinity) return u;
    const Key<A> step = Key<A>(1) << dropped_;
    const Key<A> rounded = (magnitude + random_below_step(word)) & ~(step - 1);
    return from_bits(sign | (rounded < KeyOf<A>::infinity ? rounded : KeyOf<A>::infinity - step));
  }

 private:
  static constexpr int kMantissa = sizeof(A) == 8 ? 52 : 23;
  static constexpr Key<A> kMagnitude = ~Key<A>(0) >> 1;
  static constexpr Key<A> kQuiet = Key<A>(1) << (kMantissa - 1);  // the bit of a quiet NaN

  // In [0, step): the word's upper bits, or where these are too few, the middle of what they leave.
  EFFEBM_HD Key<A> random_below_step(uint32_t word) const {
    if (dropped_ <= 32) return Key<A>(word >> (32 - dropped_));
    const int more = dropped_ - 32;
    return Key<A>((uint64_t(word) << more) + (uint64_t(1) << (more - 1)));
  }

  int dropped_;
};

}  // namespace effebm::inline EFFEBM_ISA::core
