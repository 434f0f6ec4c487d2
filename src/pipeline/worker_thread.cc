#include "src/pipeline/worker_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <future>
#include <span>
#include <system_error>

namespace culvert::pipeline {
namespace {

constexpr uint64_t kTagWakeup = UINT64_MAX;  // the others' are their addresses

// In the kernel, packets are handled before any program runs. A worker that shares its core gets the nearest
// thing to it: three times as much as others where there is too little. And a slice that is long for its weight:
// else each packet that a program sends would have the worker take its core at once, for a batch of one.
constexpr int kWorkerNice = -5;
constexpr uint64_t kWorkerSliceNs = 10'000'000;

// struct sched_attr of sched_setattr(2), which glibc does not know. Kernels before 6.12 take no slice.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = kWorkerNice;
  uint32_t priority = 0;
  uint64_t runtime_ns = kWorkerSliceNs;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

// Who gave the program a nice value or a policy of their own keeps them; without CAP_SYS_NICE nothing happens.
void go_before_programs() {
  if (getpriority(PRIO_PROCESS, 0) != 0 || sched_getscheduler(0) != SCHED_OTHER) return;
  SchedulingAttributes attributes;
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

// Keeps the calling thread on these CPUs. Yields errno.
int stay_on(const std::vector<int>& cpus) {
  if (cpus.empty()) return 0;
  const auto end = static_cast<size_t>(*std::max_element(cpus.begin(), cpus.end())) + 1;
  cpu_set_t* const set = CPU_ALLOC(end);
  if (set == nullptr) return ENOMEM;
  const size_t bytes = CPU_ALLOC_SIZE(end);
  CPU_ZERO_S(bytes, set);
  for (const int cpu : cpus) CPU_SET_S(static_cast<size_t>(cpu), bytes, set);
  const int failed = sched_setaffinity(0, bytes, set) == 0 ? 0 : errno;
  CPU_FREE(set);
  return failed;
}

}  // namespace

io::Result<std::shared_ptr<WorkerThread>> WorkerThread::start(const std::vector<int>& cpus) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  if (const auto added = poller->add(wakeup->fd(), kTagWakeup); !added) return added.error();
  std::shared_ptr<WorkerThread> made(new WorkerThread(std::move(*poller), std::move(*wakeup)));
  std::promise<int> settled;
  std::future<int> failed = settled.get_future();
  try {
    made->thread_ = std::thread([self = made.get(), cpus, settled = std::move(settled)]() mutable {
      self->cpu_times_ = io::CpuTimesReader::of_this_thread();
      settled.set_value(stay_on(cpus));
      self->loop();
    });
  } catch (const std::system_error& error) {
    return io::Error{error.code().value(), "start the thread of worker"};
  }
  if (const int error = failed.get(); error != 0) return io::Error{error, "keep to its CPUs worker"};
  return made;
}

WorkerThread::~WorkerThread() {
  if (!thread_.joinable()) return;
  ask([this] { stop_ = true; });
  thread_.join();
}

io::Status WorkerThread::add(Turned& turned, const std::function<void()>& prepare) {
  if (io::Status added = poller_.add(turned.fd(), reinterpret_cast<uintptr_t>(&turned)); !added) return added;
  ask([&] {
    prepare();
    turned_.push_back(&turned);
  });
  known_.push_back(&turned);
  return io::Success{};
}

void WorkerThread::remove(Turned& turned) {
  (void)poller_.remove(turned.fd());
  ask([&] { std::erase(turned_, &turned); });
  std::erase(known_, &turned);
}

// Has the thread do it between two turns, and waits for that.
void WorkerThread::ask(const std::function<void()>& change) {
  // Shared, as the thread may still be about to leave set_value() when we are woken.
  const auto done = std::make_shared<std::promise<void>>();
  const std::future<void> answer = done->get_future();
  {
    const protocol::MutexLock lock(changes_mutex_);
    changes_.emplace_back([&change, done] {
      change();
      done->set_value();
    });
    has_changes_.store(true, std::memory_order_release);
  }
  wakeup_.notify();
  for (const Turned* const each : known_) each->wake();
  answer.wait();
}

void WorkerThread::loop() {
  go_before_programs();
  WorkerPresence presence;
  while (!stop_) {
    if (turned_.size() == 1)
      turned_.front()->turn(presence, true);
    else
      turn_all(presence);
    if (has_changes_.load(std::memory_order_acquire)) run_changes();
  }
}

void WorkerThread::turn_all(WorkerPresence& presence) {
  if (std::any_of(turned_.begin(), turned_.end(), [](const Turned* each) { return each->polls(); })) {
    for (Turned* const each : turned_) each->turn(presence, false);
    return;
  }
  std::array<io::PollEvent, 16> events;
  presence.offline();
  const std::span<io::PollEvent> ready = poller_.wait(events);
  presence.online();
  for (const io::PollEvent& event : ready)
    for (Turned* const each : turned_)
      if (reinterpret_cast<uintptr_t>(each) == event.tag) each->turn(presence, false);
}

void WorkerThread::run_changes() {
  wakeup_.drain();
  std::vector<std::function<void()>> changes;
  {
    const protocol::MutexLock lock(changes_mutex_);
    changes.swap(changes_);
    has_changes_.store(false, std::memory_order_relaxed);
  }
  for (const auto& change : changes) change();
}

io::Result<std::shared_ptr<WorkerThread>> WorkerThreads::get(size_t number, const std::vector<int>& cpus) {
  std::erase_if(threads_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<WorkerThread>& known = threads_[{number, cpus}];
  if (auto thread = known.lock()) return thread;
  auto started = WorkerThread::start(cpus);
  if (started) known = *started;
  return started;
}

}  // namespace culvert::pipeline
