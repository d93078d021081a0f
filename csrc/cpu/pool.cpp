// An OpenMP region ends when all of its threads have come, so a thread that has lost its core to
// another process holds up the others even if there was nothing left for it to do. Here the threads
// take ranges on demand, and only a range that is taken is waited for.
#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace effebm::cpu {
namespace {

using Body = void (*)(void* context, int64_t begin, int64_t end);

constexpr int kRangesPerThread = 8;  // a thread that is late or slow leaves most to others
constexpr int kMostThreads = 1024;   // whose ranges have numbers of 16 bits
constexpr int kSpins = 500;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits while the value is `old`. Most waits are shorter than the way to sleep and back.
template <class V>
void wait_while(const std::atomic<V>& value, V old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

class Pool {
 public:
  // Returns whether the threads were free for this job.
  bool run(int threads, int64_t n, Body body, void* context);

 private:
  static constexpr int kCaller = -1;  // helpers have the numbers from 0 on

  struct Job {
    Body body;
    void* context;
    int64_t n, size;  // of all ranges, of one
    int ranges;
  };

  // The ranges that nobody has taken, and the number of helpers that may take them.
  struct Left {
    uint16_t front, back;
    int32_t helpers;
  };
  static_assert(std::atomic<Left>::is_always_lock_free);

  struct alignas(64) Calls {
    std::atomic<uint32_t> number = 0;
  };

  int grow(int helpers);
  void help(int number, const std::atomic<uint32_t>& calls);
  void do_ranges(int taker);
  bool take(int taker, int& range);

  std::atomic_flag busy_;
  std::vector<std::unique_ptr<Calls>> calls_;  // of each helper
  Job job_ = {};
  std::atomic_flag failed_;
  std::exception_ptr error_;
  alignas(64) std::atomic<Left> left_ = Left{};
  alignas(64) std::atomic<int> done_ = 0;
};

bool Pool::run(int threads, int64_t n, Body body, void* context) {
  if (busy_.test_and_set(std::memory_order_acquire)) return false;
  const int helpers = grow(threads - 1);
  const int64_t most = int64_t(kRangesPerThread) * (helpers + 1), size = (n + most - 1) / most;
  job_ = {body, context, n, size, int((n + size - 1) / size)};
  done_.store(0, std::memory_order_relaxed);
  left_.store({0, uint16_t(job_.ranges), helpers}, std::memory_order_release);
  for (int i = 0; i < helpers; ++i) {
    calls_[size_t(i)]->number.fetch_add(1, std::memory_order_release);
    calls_[size_t(i)]->number.notify_one();
  }
  do_ranges(kCaller);
  for (int done; (done = done_.load(std::memory_order_acquire)) < job_.ranges;)
    wait_while(done_, done);
  const std::exception_ptr error = std::exchange(error_, nullptr);
  failed_.clear(std::memory_order_relaxed);
  busy_.clear(std::memory_order_release);
  if (error) std::rethrow_exception(error);
  return true;
}

// Starts helpers until there are so many; returns how many may help.
int Pool::grow(int helpers) {
  try {
    calls_.reserve(size_t(helpers));
    for (int number = int(calls_.size()); number < helpers; ++number) {
      auto calls = std::make_unique<Calls>();
      std::thread(&Pool::help, this, number, std::cref(calls->number)).detach();
      calls_.push_back(std::move(calls));
    }
  } catch (const std::exception&) {  // the system has no more threads or memory
  }
  return std::min(helpers, int(calls_.size()));
}

void Pool::help(int number, const std::atomic<uint32_t>& calls) {
  std::fesetenv(FE_DFL_ENV);  // whatever the thread has set that happened to start this one
  for (uint32_t heard = 0;;) {
    wait_while(calls, heard);
    heard = calls.load(std::memory_order_acquire);
    do_ranges(number);
  }
}

void Pool::do_ranges(int taker) {
  for (int range; take(taker, range);) {
    const Job job = job_;  // which cannot end before this range is done
    const int64_t begin = range * job.size;
    try {
      job.body(job.context, begin, std::min(begin + job.size, job.n));
    } catch (...) {
      if (!failed_.test_and_set(std::memory_order_relaxed)) error_ = std::current_exception();
    }
    if (done_.fetch_add(1, std::memory_order_release) + 1 == job.ranges) done_.notify_one();
  }
}

// The caller takes the ranges from the front and its helpers take them from the back: two threads
// find in their caches what they had there in the call before.
bool Pool::take(int taker, int& range) {
  Left left = left_.load(std::memory_order_relaxed);
  while (left.front < left.back && taker < left.helpers) {
    Left rest = left;
    range = taker == kCaller ? rest.front++ : --rest.back;
    if (left_.compare_exchange_weak(left, rest, std::memory_order_acquire,
                                    std::memory_order_relaxed))
      return true;
  }
  return false;
}

// The threads of a pool sleep when the process ends, and never find it gone: nothing deletes it.
std::atomic<Pool*> the_pool = nullptr;

// A forked process has a copy of the pool and none of its threads.
[[maybe_unused]] const int forget_at_fork =
    pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr, std::memory_order_relaxed); });

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found) return *found;
  auto made = std::make_unique<Pool>();
  if (!the_pool.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel))
    return *found;
  return *made.release();
}

}  // namespace

void deal(int count, int64_t n, int64_t grain, Body body, void* context) {
  const int threads = int(std::min<int64_t>({count, n / grain, kMostThreads}));
  if (threads < 2 || !pool().run(threads, n, body, context)) body(context, 0, n);
}

}  // namespace effebm::cpu
