// The CUDA that kernels are written in: the real one, or the emulator that runs the same source on
// the CPU. Everything else in this folder is the same for both.
#pragma once

#include <cstdint>

#ifdef EFFEBM_CUDA_EMULATOR
#include "emulator.h"
#else
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#define EFFEBM_SHARED(T, name, N) __shared__ T name[N]
// All types share one declaration: a kernel has one such array, of the size its launch gives.
#define EFFEBM_DYNAMIC_SHARED(T, name)                            \
  extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(dynamic_shared)
#define EFFEBM_LAUNCH(kernel, grid, block, stream, ...) \
  EFFEBM_LAUNCH_SHARED(kernel, grid, block, 0, stream, __VA_ARGS__)
#define EFFEBM_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...) \
  (kernel)<<<(grid), (block), (bytes), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

namespace effebm::cuda {

// Properties of the current device.
struct Device {
  int multiprocessors;
  int64_t shared_memory;  // bytes that a block may have
  bool clusters;
};

// The shape of a launch whose thread blocks wait for each other: within clusters, or, where
// `cluster` is 1, within the whole grid, whose blocks then all run at the same time.
struct CooperativeLaunch {
  unsigned blocks;
  int threads;
  int64_t bytes;  // dynamic shared memory
  unsigned cluster = 1;
};

#ifdef EFFEBM_CUDA_EMULATOR

inline Device current_device() {
  const auto& device = emulator::device_properties();
  return {device.multiprocessors, int64_t(device.shared_per_block), true};
}

template <class Kernel>
void allow_shared_memory(Kernel, int64_t) {}

template <class Kernel>
int blocks_at_once(Kernel, int, int64_t) {
  return current_device().multiprocessors;
}

template <class Kernel>
bool can_cluster(Kernel, const CooperativeLaunch&) {
  return true;
}

template <class... Parameters, class... Arguments>
void launch_cooperative(void (*kernel)(Parameters...), const CooperativeLaunch& shape, void*,
                        Arguments&&... arguments) {
  emulator::launch_kernel(shape.blocks, dim3(unsigned(shape.threads)), size_t(shape.bytes),
                          shape.cluster, shape.cluster == 1, kernel, arguments...);
}

#else

inline Device current_device() {
  const auto attribute = [](cudaDeviceAttr which) {
    int device = 0, value = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&value, which, device);
    return value;
  };
  return {attribute(cudaDevAttrMultiProcessorCount),
          attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          attribute(cudaDevAttrClusterLaunch) != 0};
}

// Lets a kernel be launched with so much dynamic shared memory. Above 48 KiB it has to be asked
// for, on every device.
template <class Kernel>
void allow_shared_memory(Kernel kernel, int64_t bytes) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
}

// Returns how many blocks of a kernel the device runs at the same time.
template <class Kernel>
int blocks_at_once(Kernel kernel, int threads, int64_t bytes) {
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, size_t(bytes));
  return blocks * current_device().multiprocessors;
}

// The configuration of a launch of clusters, or of a grid whose blocks all run at the same time.
class CooperativeConfig {
 public:
  CooperativeConfig(const CooperativeLaunch& shape, void* stream) {
    attribute_.id =
        shape.cluster > 1 ? cudaLaunchAttributeClusterDimension : cudaLaunchAttributeCooperative;
    if (shape.cluster > 1)
      attribute_.val.clusterDim = {shape.cluster, 1, 1};
    else
      attribute_.val.cooperative = 1;
    config_.gridDim = shape.blocks;
    config_.blockDim = unsigned(shape.threads);
    config_.dynamicSmemBytes = size_t(shape.bytes);
    config_.stream = static_cast<cudaStream_t>(stream);
    config_.attrs = &attribute_;
    config_.numAttrs = 1;
  }
  CooperativeConfig(const CooperativeConfig&) = delete;
  const cudaLaunchConfig_t& operator*() const { return config_; }

 private:
  cudaLaunchAttribute attribute_ = {};
  cudaLaunchConfig_t config_ = {};
};

// Tells whether the device has room for one such cluster; above 8 blocks not every device has.
template <class Kernel>
bool can_cluster(Kernel kernel, const CooperativeLaunch& shape) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  int clusters = 0;
  const CooperativeConfig config(shape, nullptr);
  const cudaError_t error = cudaOccupancyMaxActiveClusters(&clusters, kernel, &*config);
  if (error != cudaSuccess) cudaGetLastError();  // not an error of the launch that follows
  return error == cudaSuccess && clusters > 0;
}

template <class... Parameters, class... Arguments>
void launch_cooperative(void (*kernel)(Parameters...), const CooperativeLaunch& shape, void* stream,
                        const Arguments&... arguments) {
  const CooperativeConfig config(shape, stream);
  cudaLaunchKernelEx(&*config, kernel, Parameters(arguments)...);
}

#endif

}  // namespace effebm::cuda
