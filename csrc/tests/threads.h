// Ways to deal out work to threads, none of which may change a result.
#pragma once

#include <thread>
#include <vector>

#include "../core/kernels.h"

namespace effebm::test {

using Body = void (*)(void* context, int64_t begin, int64_t end);

inline constexpr Execution kSerial = {};

// This runs ranges as small as asked for one after the other, the last first, also of little work.
inline constexpr Execution kBackwards = {
    {3,
     [](int, int64_t n, int64_t grain, Body body, void* context) {
       for (int64_t begin = (n - 1) / grain * grain; begin >= 0; begin -= grain)
         body(context, begin, std::min(begin + grain, n));
     },
     64}};

// This runs all ranges at the same time, so that ThreadSanitizer sees what they share.
inline constexpr Execution kParallel = {
    {4,
     [](int, int64_t n, int64_t grain, Body body, void* context) {
       const int64_t share = std::max(grain, (n + 3) / 4);
       std::vector<std::thread> threads;
       for (int64_t begin = 0; begin < n; begin += share)
         threads.emplace_back(body, context, begin, std::min(begin + share, n));
       for (std::thread& thread : threads) thread.join();
     },
     4096}};

inline constexpr const Execution* kAllThreads[] = {&kSerial, &kBackwards, &kParallel};

}  // namespace effebm::test
