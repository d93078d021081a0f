// Checks the pool of threads: that it does all work once and waits for what was taken only.
#include "../cpu/pool.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <functional>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"

namespace effebm::test {
namespace {

using Function = std::function<void(int64_t begin, int64_t end)>;

void deal(int count, int64_t n, int64_t grain, const Function& f) {
  const auto body = [](void* context, int64_t begin, int64_t end) {
    (*static_cast<const Function*>(context))(begin, end);
  };
  cpu::deal(count, n, grain, body, const_cast<void*>(static_cast<const void*>(&f)));
}

// Whether the condition comes true. A pool that works never lets this take long.
bool comes_true(const std::function<bool()>& condition) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

// How often each of n was done. There are no atomics here, so that ThreadSanitizer sees whether the
// caller may read what others have done.
class Work {
 public:
  explicit Work(int64_t n) : times_(size_t(n), 0) {}

  void add(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++times_[size_t(i)];
  }
  bool done_once() const {
    return std::count(times_.begin(), times_.end(), 1) == int64_t(times_.size());
  }

 private:
  std::vector<int> times_;
};

// The threads that have been here.
class Visitors {
 public:
  size_t add() {
    const std::lock_guard guard(mutex_);
    threads_.insert(std::this_thread::get_id());
    return threads_.size();
  }
  size_t count() {
    const std::lock_guard guard(mutex_);
    return threads_.size();
  }

 private:
  std::mutex mutex_;
  std::set<std::thread::id> threads_;
};

void everything_is_done_once() {
  std::mt19937 random(1);
  const auto up_to = [&random](int n) { return 1 + int(random() % unsigned(n)); };
  for (int i = 0; i < 3000; ++i) {
    const int64_t n = up_to(up_to(2000)), grain = up_to(up_to(200));
    const int count = up_to(5);
    Work work(n);
    Visitors threads;
    deal(count, n, grain, [&](int64_t begin, int64_t end) {
      threads.add();
      work.add(begin, end);
    });
    CHECK(work.done_once(), n, grain, count);
    const auto most = size_t(std::max<int64_t>(1, std::min<int64_t>(count, n / grain)));
    CHECK(threads.count() <= most, n, grain, count, threads.count());
  }
}

void all_threads_take_part() {
  for (const int count : {2, 4, 3}) {
    Visitors threads;
    std::atomic<bool> all_came = true;
    deal(count, 64, 1, [&](int64_t, int64_t) {
      threads.add();
      if (!comes_true([&] { return threads.count() == size_t(count); })) all_came = false;
    });
    CHECK(all_came, count);
  }
}

void a_range_that_was_taken_is_waited_for() {
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> taken = false;
  Work work(64);
  deal(2, 64, 1, [&](int64_t begin, int64_t end) {
    if (std::this_thread::get_id() == caller) {
      comes_true([&] { return taken.load(); });
    } else if (!taken.exchange(true)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    work.add(begin, end);
  });
  CHECK(taken && work.done_once());
}

// ThreadSanitizer puts off signals that come to a sleeping thread.
#ifndef __SANITIZE_THREAD__
std::atomic<bool> is_held = false, may_go = false;

void a_thread_that_comes_late_is_not_waited_for() {
  const auto caller = pthread_self();
  std::atomic<pthread_t> helper = caller;
  deal(2, 64, 1, [&](int64_t, int64_t) {
    if (pthread_self() != caller) helper = pthread_self();
    comes_true([&] { return helper != caller; });
  });
  struct sigaction hold = {};
  hold.sa_handler = [](int) {
    is_held = true;
    while (!may_go) std::this_thread::yield();
  };
  sigaction(SIGUSR1, &hold, nullptr);
  pthread_kill(helper, SIGUSR1);
  CHECK(comes_true([] { return is_held.load(); }));
  std::thread rescue([] {  // of a pool that waits
    if (!comes_true([] { return may_go.load(); })) may_go = true;
  });
  for (int i = 0; i < 10; ++i) {
    Work work(64);
    deal(2, 64, 1, [&](int64_t begin, int64_t end) { work.add(begin, end); });
    CHECK(work.done_once() && !may_go, i);
  }
  may_go = true;
  rescue.join();
  all_threads_take_part();
}
#endif

void callers_at_the_same_time() {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        Work work(200);
        deal(3, 200, 1, [&](int64_t begin, int64_t end) { work.add(begin, end); });
        wrong += !work.done_once();
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0, wrong);
}

void calls_within_calls() {
  constexpr int64_t kRows = 30, kColumns = 40;
  Work work(kRows * kColumns);
  deal(3, kRows, 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      deal(3, kColumns, 1, [&](int64_t begin, int64_t end) {
        work.add(row * kColumns + begin, row * kColumns + end);
      });
  });
  CHECK(work.done_once());
}

void what_a_body_throws_arrives() {
  for (const bool in_caller : {true, false}) {
    const auto caller = std::this_thread::get_id();
    std::atomic<bool> thrown = false;
    std::atomic<int64_t> done = 0;
    bool caught = false;
    try {
      deal(2, 64, 1, [&](int64_t begin, int64_t end) {
        done += end - begin;
        if ((std::this_thread::get_id() == caller) == in_caller && !thrown.exchange(true))
          throw std::runtime_error("of a body");
        comes_true([&] { return thrown.load(); });
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught && done == 64, in_caller, done);
  }
  all_threads_take_part();
}

void helpers_round_to_nearest() {
  std::fesetround(FE_UPWARD);
  const auto caller = std::this_thread::get_id();
  Visitors threads;
  std::atomic<bool> nearest = true;
  deal(6, 96, 1, [&](int64_t, int64_t) {  // more threads than there were before
    if (std::this_thread::get_id() != caller && std::fegetround() != FE_TONEAREST) nearest = false;
    threads.add();
    comes_true([&] { return threads.count() == 6; });
  });
  std::fesetround(FE_TONEAREST);
  CHECK(nearest && threads.count() == 6);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  everything_is_done_once();
  all_threads_take_part();
  a_range_that_was_taken_is_waited_for();
#ifndef __SANITIZE_THREAD__
  a_thread_that_comes_late_is_not_waited_for();
#endif
  callers_at_the_same_time();
  calls_within_calls();
  what_a_body_throws_arrives();
  helpers_round_to_nearest();
  return report();
}
