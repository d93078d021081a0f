// The CPU kernels, torch-free. They are compiled once per instruction set into a table each;
// kernels() is the table for this machine.
#pragma once

#include <cstdint>

#include "../core/block_sign.h"
#include "../core/langevin_step.h"
#include "../core/packing.h"
#include "../core/perturb.h"
#include "../core/topk.h"

namespace effebm::cpu {

// The threads that a kernel may use. The results depend neither on their number nor on how work is
// dealt out to them.
struct Threads {
  int count;
  // Calls body(context, begin, end) for ranges that make up [0, n), of at least `grain` each but
  // for the last, in any order and at the same time.
  void (*deal)(int64_t n, int64_t grain, void (*body)(void* context, int64_t, int64_t),
               void* context);

  // f(begin, end) likewise.
  template <class F>
  void run(int64_t n, int64_t grain, const F& f) const {
    if (n <= grain || count == 1) return f(int64_t(0), n);
    const auto body = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<const F*>(context))(begin, end);
    };
    deal(n, grain, body, const_cast<void*>(static_cast<const void*>(&f)));
  }
};

struct Kernels {
  const char* name;
  void (*langevin_step)(const LangevinStepParams&, const Threads&);
  void (*topk)(const TopkParams&, const Threads&);
  void (*block_sign)(const BlockSignParams&, const Threads&);
  void (*pack_signs)(const SignsParams&, const Threads&);
  void (*unpack_signs)(const SignsParams&, const Threads&);
  void (*pack_entries)(const EntriesParams&, const Threads&);
  void (*perturb)(const PerturbParams&, const Threads&);
};

// The kernels for one instruction set by its name, or null where the machine lacks it.
const Kernels* kernels_for(const char* name);

// Chosen at the first call: the best the processor has, lowered by the environment variable
// ATEN_CPU_CAPABILITY (default, avx2, avx512) as PyTorch's own kernels are.
const Kernels& kernels();

// For tests: runs these kernels instead from now on, or the machine's own again for null.
void use_kernels(const Kernels*);

}  // namespace effebm::cpu

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void langevin_step(const LangevinStepParams&, const cpu::Threads&);
void topk(const TopkParams&, const cpu::Threads&);
void block_sign(const BlockSignParams&, const cpu::Threads&);
void pack_signs(const SignsParams&, const cpu::Threads&);
void unpack_signs(const SignsParams&, const cpu::Threads&);
void pack_entries(const EntriesParams&, const cpu::Threads&);
void perturb(const PerturbParams&, const cpu::Threads&);

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
