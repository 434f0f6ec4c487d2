// A mutex that clang understands: what is GUARDED_BY one is refused where it is not held (-Wthread-safety, in the fuzz
// preset). The standard library's own has no such marks. Other compilers see a plain mutex.
#pragma once

#include <mutex>

#if defined(__clang__)
#define CULVERT_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define CULVERT_THREAD_SAFETY(attribute)
#endif

// Of a member: read and written only while the mutex is held.
#define GUARDED_BY(mutex) CULVERT_THREAD_SAFETY(guarded_by(mutex))
// Of a function: to be called only while the mutex is held.
#define REQUIRES(...) CULVERT_THREAD_SAFETY(requires_capability(__VA_ARGS__))
// Of a function that holds or releases a mutex in a way that clang cannot follow; a comment says which.
#define NO_THREAD_SAFETY_ANALYSIS CULVERT_THREAD_SAFETY(no_thread_safety_analysis)

namespace culvert::protocol {

class CULVERT_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  void lock() CULVERT_THREAD_SAFETY(acquire_capability()) { mutex_.lock(); }
  void unlock() CULVERT_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a mutex for as long as it lives.
class CULVERT_THREAD_SAFETY(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CULVERT_THREAD_SAFETY(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() CULVERT_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace culvert::protocol
