// The kernels that the ops call, looked up by the device of a tensor.
#pragma once

#include "../core/kernels.h"
#include "common.h"

namespace effebm::ops {

// The devices that have a table of kernels.
enum class Backend : int { cpu, cuda };

// The ops run these kernels on tensors of this backend from now on. _C_cuda registers its own when
// it is imported. Null on the CPU means the kernels of the machine, which is the default.
void register_kernels(Backend backend, const Kernels* kernels);

// Other modules call register_kernels through a capsule of this name.
using RegisterKernels = decltype(&register_kernels);
constexpr char kRegisterKernels[] = "effebm_ext._C.register_kernels";

const Kernels& kernels_of(Backend backend);

// Memory on x's device, for one kernel. It may be freed once the kernel is launched: later kernels
// that get it wait for this one, on the same stream.
struct Memory {
  const Tensor& x;
  OptionalTensor tensor = std::nullopt;
};

// Returns torch's threads, or the GPU of x, where the kernel allocates its memory.
Execution execution_on(Backend backend, Memory& memory);

// Runs a kernel on the device of x. There is at least one element.
template <class Params>
void run(Kernel<Params> Kernels::* kernel, const Params& params, const Tensor& x) {
  const Backend backend = x.is_cpu() ? Backend::cpu : Backend::cuda;
  Memory memory{x};
  (kernels_of(backend).*kernel)(params, execution_on(backend, memory));
}

}  // namespace effebm::ops
