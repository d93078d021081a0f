// The table of kernels that a device offers and the ops call. The CPU has one per instruction set,
// CUDA has one, and so has the emulator that runs the CUDA kernels on the CPU.
#pragma once

#include <cstdint>

#include "compressors.h"
#include "langevin_step.h"
#include "log_ratio.h"
#include "metropolis.h"
#include "packing.h"
#include "perturb.h"
#include "stochastic_round.h"
#include "uniforms.h"

// f(name, parameters) for every kernel: the one list of them.
#define EFFEBM_KERNELS(f)                                                                     \
  f(langevin_step, LangevinStepParams) f(compress, CompressParams) f(pack_signs, SignsParams) \
      f(unpack_signs, SignsParams) f(pack_entries, EntriesParams) f(perturb, PerturbParams)   \
          f(stochastic_round, StochasticRoundParams) f(uniforms, UniformsParams)              \
              f(log_ratio, LogRatioParams) f(metropolis, MetropolisParams)

namespace effebm {

// The threads that a CPU kernel may use. The results depend neither on their number nor on how work
// is dealt out to them.
struct Threads {
  int count = 1;
  // Calls body(context, begin, end) for ranges that make up [0, n), in any order and at the same
  // time, on up to `count` threads and about one for every `grain` of n.
  void (*deal)(int count, int64_t n, int64_t grain,
               void (*body)(void* context, int64_t begin, int64_t end), void* context) = nullptr;
  // The work that is worth a thread, in nanoseconds: about as much as one does while a sleeping one
  // wakes up. Two threads are slower than one where they have half of this work each.
  int64_t worth = 32768;

  // f(begin, end) likewise, for n items that take about `cost` nanoseconds each.
  template <class F>
  void run(int64_t n, int64_t cost, const F& f) const {
    const int64_t grain = (worth + cost - 1) / cost;
    if (count == 1 || n < 2 * grain) return f(int64_t(0), n);
    const auto body = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<const F*>(context))(begin, end);
    };
    deal(count, n, grain, body, const_cast<void*>(static_cast<const void*>(&f)));
  }
};

// The place where a kernel runs: threads of the CPU, or a stream of a GPU, a cudaStream_t.
struct Execution {
  Threads threads = {};
  int32_t gpu = -1;
  void* stream = nullptr;
  void* (*allocator)(void* owner, int64_t bytes) = nullptr;
  void* owner = nullptr;

  // Memory of the GPU until the kernel has run, aligned to 16 bytes; null for 0 bytes. A kernel
  // asks for it once.
  void* allocate(int64_t bytes) const { return bytes > 0 ? allocator(owner, bytes) : nullptr; }
};

template <class Params>
using Kernel = void (*)(const Params&, const Execution&);

struct Kernels {
  const char* name;
#define EFFEBM_MEMBER(name, Params) Kernel<Params> name;
  EFFEBM_KERNELS(EFFEBM_MEMBER)
#undef EFFEBM_MEMBER
};

}  // namespace effebm

// The kernel's declaration, in the namespace of a device.
#define EFFEBM_DECLARE_KERNEL(name, Params) void name(const Params&, const Execution&);
