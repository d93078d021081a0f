#include "kernels.h"

#include <atomic>

#include "../cpu/kernels.h"
#include "threads.h"

namespace effebm::ops {
namespace {

std::atomic<const Kernels*> registered[2] = {};

void* allocate(void* owner, int64_t bytes) {
  Memory& memory = *static_cast<Memory*>(owner);
  memory.tensor = torch::stable::new_empty(memory.x, {bytes}, ScalarType::Byte);
  return memory.tensor->mutable_data_ptr();
}

}  // namespace

void register_kernels(Backend backend, const Kernels* kernels) {
  registered[int(backend)].store(kernels, std::memory_order_release);
}

const Kernels& kernels_of(Backend backend) {
  const Kernels* kernels = registered[int(backend)].load(std::memory_order_acquire);
  if (!kernels && backend == Backend::cpu) return cpu::kernels();
  STD_TORCH_CHECK(kernels, "x: expected a CPU tensor, as the CUDA kernels are not loaded");
  return *kernels;
}

Execution execution_on(Backend backend, Memory& memory) {
  if (backend == Backend::cpu) return {.threads = cpu_threads()};
  return {.gpu = memory.x.get_device_index(), .allocator = &allocate, .owner = &memory};
}

}  // namespace effebm::ops
