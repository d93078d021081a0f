#include "kernels.h"

#include <atomic>

#include "../cpu/kernels.h"

namespace effebm::ops {
namespace {

std::atomic<const Kernels*> registered[2] = {};

void* allocate(void* owner, int64_t bytes) {
  Memory& memory = *static_cast<Memory*>(owner);
  memory.tensor = torch::stable::new_empty(memory.x, {bytes}, ScalarType::Byte);
  return memory.tensor->mutable_data_ptr();
}

Threads torch_threads() {
  const auto deal = [](int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t),
                       void* context) {
    torch::stable::parallel_for(0, n, grain,
                                [&](int64_t begin, int64_t end) { body(context, begin, end); });
  };
  return {int(torch::stable::get_num_threads()), deal};
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
  if (backend == Backend::cpu) return {.threads = torch_threads()};
  return {.gpu = memory.x.get_device_index(), .allocator = &allocate, .owner = &memory};
}

}  // namespace effebm::ops
