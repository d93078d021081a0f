// Random-k: the kernels of Top-k find the cutoffs among the random words of the rows, which they
// draw where other rows are read; then a flat kernel draws the words again and keeps by them.
#pragma once

#include "topk_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct WordsParams : CompressorParams {
  int64_t rows, dim;
};

// Rows of random words, as the kernels that find cutoffs read them.
struct WordsOp {
  using A = float;
  using Params = WordsParams;
  static constexpr int kBlocks = kThreadsAtOnce / kThreads;

  using Input = Words;
  static __device__ Input input(const Params& p, const Place& place) {
    return compression_words(p, place);
  }
  static __device__ void values(const Params&, const Place& place, const Input& words,
                                A (&u)[kQuad]) {
    for (int i = 0; i < kQuad; ++i) u[i] = i < place.n ? random_magnitude(words.w[i]) : A(0);
  }
};

// Words are uniform in their keys, so the threshold's key is nearly known.
inline Expectation expect_words(double k, double count) {
  const double share = k / count, range = 1 << 30;  // the keys of random_magnitude
  const double octave = 1 << 23, slope = octave / range / (std::log(2) * share * (1 - share));
  return {0, 1, uint64_t(0x00800000 + range * (1 - share)), float(slope)};
}

template <class Family>
class RandomKLaunch {
 public:
  RandomKLaunch() = default;

  RandomKLaunch(const Family& family, cuda::Workspace& space) {
    const auto& p = family.p;
    const int64_t k = p.compressor_size;
    if (k > 0 && k < p.dim)
      cutoffs_ = CutoffLaunch<float>(p.rows, p.dim, expect_words(double(k), double(p.dim)), space);
  }

  void run(const Family& family, void* stream) const {
    const auto& p = family.p;
    if (p.compressor_size == 0) return family.launch_flat(KeepSelected{nullptr}, stream);
    if (p.compressor_size == p.dim) return family.launch_flat(KeepAll(), stream);
    cutoffs_.template run<WordsOp>({p, p.rows, p.dim}, p.compressor_size, stream);
    family.launch_flat(KeepByWords{cutoffs_.cutoffs()}, stream);
  }

 private:
  CutoffLaunch<float> cutoffs_;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
