// Announcements to AddressSanitizer and ThreadSanitizer. They do nothing in other builds.
//
// TSan judges the kernel, so the scheduler itself is compiled without -fsanitize=thread: its way of
// running threads in turn must not count as synchronization of the kernel. EFFEBM_EMULATOR_TSAN
// makes it announce the fibers, and the order that CUDA does give.
#pragma once

#include <cstddef>

#ifdef __SANITIZE_THREAD__
#error "compile the scheduler with EFFEBM_EMULATOR_TSAN and without -fsanitize=thread"
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EFFEBM_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_write_range(void* address, unsigned long bytes);
#endif

namespace effebm::emulator {

#ifdef EFFEBM_EMULATOR_TSAN

// An order: everything before a release happens before everything that follows a later acquire.
class Order {
 public:
  void release() { __tsan_release(this); }
  void acquire() { __tsan_acquire(this); }

 private:
  char unused_ = 0;
};

constexpr unsigned kWithoutOrder = __tsan_switch_to_fiber_no_sync;

// While it lives, TSan thinks that another fiber runs. Memory that the scheduler allocates or frees
// while a kernel's thread calls it is not that thread's doing.
class AttributedTo {
 public:
  explicit AttributedTo(void* tsan_fiber) : before_(__tsan_get_current_fiber()) {
    __tsan_switch_to_fiber(tsan_fiber, kWithoutOrder);
  }
  ~AttributedTo() { __tsan_switch_to_fiber(before_, kWithoutOrder); }
  AttributedTo(const AttributedTo&) = delete;
  AttributedTo& operator=(const AttributedTo&) = delete;

 private:
  void* before_;
};

inline void note_write(void* address, size_t bytes) { __tsan_write_range(address, bytes); }

#else

class Order {
 public:
  void release() {}
  void acquire() {}
};

class AttributedTo {
 public:
  explicit AttributedTo(void*) {}
  ~AttributedTo() {}
};

inline void note_write(void*, size_t) {}

#endif

#ifdef __SANITIZE_ADDRESS__
inline void poison(void* address, size_t bytes) { __asan_poison_memory_region(address, bytes); }
inline void unpoison(void* address, size_t bytes) { __asan_unpoison_memory_region(address, bytes); }
#else
inline void poison(void*, size_t) {}
inline void unpoison(void*, size_t) {}
#endif

}  // namespace effebm::emulator
