// The threads that workers run on. The workers of one number of all interfaces of a process share one: as many threads
// as there are CPUs, however many interfaces.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "io/cpu_times.h"
#include "io/poller.h"
#include "io/result.h"
#include "io/wakeup.h"
#include "src/pipeline/grace_period.h"
#include "src/protocol/mutex.h"

namespace culvert::pipeline {

// What a thread turns: a worker.
class Turned {
 public:
  virtual ~Turned() = default;

  // Does what is there, one batch of each side at most; the thread's alone. Where it may sleep, it does until there is
  // something, or until wake().
  virtual void turn(WorkerPresence& presence, bool may_sleep) = 0;
  // Readable (level-triggered) while turn() has something to do. Constant.
  virtual int fd() const = 0;
  // Whether it has to be turned all the time; the thread's alone.
  virtual bool polls() const = 0;
  // Ends a turn that sleeps. Any thread.
  virtual void wake() const = 0;
};

// One that is alone on its thread sleeps in a turn of its own. Several take turns, a batch each, so that none keeps the
// others waiting.
//
// Thread safety: the public methods are the control thread's, the others this thread's.
class WorkerThread {
 public:
  // Errors: EMFILE, ENFILE, EAGAIN, EINVAL (none of the CPUs may be used; empty: all that the process may).
  static io::Result<std::shared_ptr<WorkerThread>> start(const std::vector<int>& cpus);
  // Ends the thread. Nobody is on it.
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // Turns it from now on. `prepare` runs on the thread before: what it allocates is on the thread's node.
  io::Status add(Turned& turned, const std::function<void()>& prepare);
  // Returns when the thread has let go of it.
  void remove(Turned& turned);

  // Of all that runs on it. Any thread.
  std::optional<io::CpuTimes> cpu_times() const { return cpu_times_.read(); }

 private:
  WorkerThread(io::Poller poller, io::Wakeup wakeup) : poller_(std::move(poller)), wakeup_(std::move(wakeup)) {}

  void ask(const std::function<void()>& change);
  void loop();
  void turn_all(WorkerPresence& presence);
  void run_changes();

  io::Poller poller_;  // asked while there is not exactly one
  io::Wakeup wakeup_;
  io::CpuTimesReader cpu_times_;      // set before start() returns
  std::vector<const Turned*> known_;  // the control thread's: whom to wake

  // The thread's.
  std::vector<Turned*> turned_;
  bool stop_ = false;

  protocol::Mutex changes_mutex_;
  std::vector<std::function<void()>> changes_ GUARDED_BY(changes_mutex_);
  std::atomic<bool> has_changes_{false};  // released by ask(), acquired by loop()
  std::thread thread_;
};

// Thread safety: the control thread alone.
class WorkerThreads {
 public:
  // The thread for workers of this number that are kept on these CPUs; it lives as long as somebody has it. Errors:
  // those of WorkerThread::start().
  io::Result<std::shared_ptr<WorkerThread>> get(size_t number, const std::vector<int>& cpus);

 private:
  std::map<std::pair<size_t, std::vector<int>>, std::weak_ptr<WorkerThread>> threads_;
};

}  // namespace culvert::pipeline
