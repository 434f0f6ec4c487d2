// When may the control thread free what workers have read? After a grace period: every worker has passed a
// point where it holds no pointer into published state, or sleeps. This is userspace-RCU's QSBR flavour
// (Desnoyers et al., "User-Level Implementations of Read-Copy Update", IEEE TPDS 2012), with what
// ThreadSanitizer cannot see for itself spelled out.
#pragma once

#include <urcu/urcu-qsbr.h>

#if defined(__SANITIZE_THREAD__)
#define CULVERT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CULVERT_TSAN 1
#endif
#endif
#ifdef CULVERT_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace culvert::pipeline {

namespace grace_period_detail {
#ifdef CULVERT_TSAN
inline char tsan_anchor;
inline void released_by_worker() {
  __tsan_release(&tsan_anchor);
}
inline void acquired_by_control() {
  __tsan_acquire(&tsan_anchor);
}
#else
inline void released_by_worker() {}
inline void acquired_by_control() {}
#endif
}  // namespace grace_period_detail

// A worker's membership. Made, used and destroyed on the worker's own thread.
class WorkerPresence {
 public:
  WorkerPresence() { urcu_qsbr_register_thread(); }
  ~WorkerPresence() {
    grace_period_detail::released_by_worker();
    urcu_qsbr_unregister_thread();
  }
  WorkerPresence(const WorkerPresence&) = delete;
  WorkerPresence& operator=(const WorkerPresence&) = delete;

  // Before and after sleeping. In between the worker holds no pointer into published state.
  void offline() {
    grace_period_detail::released_by_worker();
    urcu_qsbr_thread_offline();
  }
  void online() { urcu_qsbr_thread_online(); }
};

// Control thread: returns once no worker holds what was unpublished before the call. Takes no longer than one
// batch of the busiest worker.
inline void wait_for_workers() {
  urcu_qsbr_synchronize_rcu();
  grace_period_detail::acquired_by_control();
}

}  // namespace culvert::pipeline
