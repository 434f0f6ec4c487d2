#include "src/pipeline/worker.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <future>
#include <system_error>

#include "src/pipeline/grace_period.h"

namespace culvert::pipeline {
namespace {

enum Tag : uint64_t { kTagWakeup, kTagInner, kTagOuter };

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

}  // namespace

io::Result<std::unique_ptr<Worker>> Worker::start(const Published& published, const io::Wakeup& control,
                                                  io::InnerQueue& inner, BootClockReader clock) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  if (const auto added = poller->add(wakeup->fd(), kTagWakeup); !added) return added.error();
  if (const auto added = poller->add(inner.poll_fd(), kTagInner); !added) return added.error();
  std::unique_ptr<Worker> worker(new Worker(published, control, inner, clock, std::move(*poller), std::move(*wakeup)));
  try {
    worker->thread_ = std::thread([self = worker.get()] { self->loop(); });
  } catch (const std::system_error& error) {
    return io::Error{error.code().value(), "start a worker thread"};
  }
  return worker;
}

Worker::Worker(const Published& published, const io::Wakeup& control, io::InnerQueue& inner, BootClockReader clock,
               io::Poller poller, io::Wakeup wakeup)
    : published_(published),
      control_(control),
      clock_(clock),
      poller_(std::move(poller)),
      wakeup_(std::move(wakeup)),
      inner_(inner),
      mailbox_(control_),
      outbound_(published_, mailbox_, stats_),
      inbound_(published_, mailbox_, stats_) {}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  post([this] { stop_ = true; });
  thread_.join();
}

void Worker::post(Task task) {
  {
    const std::lock_guard lock(tasks_mutex_);
    tasks_.push_back(std::move(task));
  }
  wakeup_.notify();
}

void Worker::post_and_wait(const Task& task) {
  std::promise<void> done;
  post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void Worker::adopt_outer(std::unique_ptr<io::OuterQueue> outer) {
  post_and_wait([&] {
    watch_outer(false);
    {
      const std::lock_guard lock(outer_mutex_);
      outer_.swap(outer);
    }
    watch_outer(true);
  });
}

void Worker::flush_staged(PeerPath& path) {
  post([this, &path] { outbound_.flush_staged(path, inner_, outer_.get(), clock_()); });
}

void Worker::drop_staged(std::span<PeerPath* const> paths, DropReason reason) {
  post_and_wait([&] {
    for (PeerPath* const path : paths) outbound_.drop_staged(*path, reason);
  });
}

io::OuterCounters Worker::outer_counters() const {
  const std::lock_guard lock(outer_mutex_);
  return outer_ != nullptr ? outer_->counters() : io::OuterCounters{};
}

void Worker::loop() {
  go_before_programs();
  WorkerPresence presence;
  std::array<io::PollEvent, 4> events;
  while (!stop_) {
    presence.offline();
    const std::span<io::PollEvent> ready = poller_.wait(events);
    presence.online();
    stats_.wakeups.add(1);
    bool inner_ready = false, outer_ready = false;
    for (const io::PollEvent& event : ready) {
      if (event.tag == kTagWakeup) run_tasks();
      inner_ready |= event.tag == kTagInner;
      outer_ready |= event.tag == kTagOuter;
    }
    if (outer_ready) run_inbound();
    if (inner_ready) run_outbound();
  }
}

void Worker::run_tasks() {
  wakeup_.drain();
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(tasks_mutex_);
    tasks.swap(tasks_);
  }
  for (const Task& task : tasks) task();
}

void Worker::run_inbound() {
  if (outer_ != nullptr) inbound_.run(inner_, *outer_, clock_());
}

void Worker::run_outbound() {
  size_t read = 0;
  const io::ReadOutcome outcome = outbound_.run(inner_, outer_.get(), clock_(), read);
  if (outcome != io::ReadOutcome::gone) return;
  (void)poller_.remove(inner_.poll_fd());
  inner_gone_.store(true, std::memory_order_release);  // pairs with the acquire in inner_gone()
  control_.notify();
}

void Worker::watch_outer(bool watch) {
  if (outer_ == nullptr) return;
  for (const int fd : outer_->poll_fds()) {
    if (fd < 0) continue;
    // An fd that cannot be watched is one that was closed under us: the other family goes on.
    (void)(watch ? poller_.add(fd, kTagOuter) : poller_.remove(fd));
  }
}

}  // namespace culvert::pipeline
