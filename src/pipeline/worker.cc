#include "src/pipeline/worker.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <future>
#include <system_error>
#include <utility>

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
                                                  io::InnerSide& inner, BootClockReader clock, size_t number) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  if (const auto added = poller->add(wakeup->fd(), kTagWakeup); !added) return added.error();
  for (const int fd : inner.poll_fds())
    if (const auto added = poller->add(fd, kTagInner); !added) return added.error();
  std::unique_ptr<Worker> worker(
      new Worker(published, control, inner, clock, std::move(*poller), std::move(*wakeup), number));
  try {
    worker->thread_ = std::thread([self = worker.get()] { self->loop(); });
  } catch (const std::system_error& error) {
    return io::Error{error.code().value(), "start a worker thread"};
  }
  return worker;
}

Worker::Worker(const Published& published, const io::Wakeup& control, io::InnerSide& inner, BootClockReader clock,
               io::Poller poller, io::Wakeup wakeup, size_t number)
    : published_(published),
      control_(control),
      clock_(clock),
      poller_(std::move(poller)),
      wakeup_(std::move(wakeup)),
      inner_(inner),
      mailbox_(control_, number),
      outbound_(published_, mailbox_, stats_),
      inbound_(published_, mailbox_, stats_),
      polls_inner_(inner.poll_fds().empty()) {}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  post([this] { stop_ = true; });
  thread_.join();
}

void Worker::post(Task task) {
  {
    const protocol::MutexLock lock(tasks_mutex_);
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

void Worker::adopt_outer(std::unique_ptr<io::OuterSide> outer) {
  post_and_wait([&] {
    control_outbox_.send(outer_);  // it is of the old one's time
    watch_outer(false);
    {
      const protocol::MutexLock lock(outer_mutex_);
      // It counts no more: from here on nobody but the caller has it, to close it.
      if (owned_outer_ != nullptr) io::add_counters(owned_outer_->counters(), io::kOuterCounters, outer_before_);
      owned_outer_.swap(outer);
      outer_ = owned_outer_.get();
    }
    watch_outer(true);
  });
}

bool Worker::send_control(const ControlDatagram& datagram) {
  if (!control_outbox_.push(datagram)) return false;
  if (++unannounced_ == kControlsPerWakeup) announce_control();
  return true;
}

void Worker::announce_control() {
  if (std::exchange(unannounced_, 0) != 0) wakeup_.notify();
}

void Worker::flush_staged(PeerPath& path) {
  post([this, &path] { outbound_.flush_staged(path, inner_, outer_, clock_()); });
}

void Worker::drop_staged(std::span<PeerPath* const> paths, DropReason reason) {
  post_and_wait([&] {
    control_outbox_.send(outer_);
    for (PeerPath* const path : paths) outbound_.drop_staged(*path, reason);
  });
}

void Worker::add_outer_counters(io::CounterValues<io::kOuterCounters.size()>& values) const {
  const protocol::MutexLock lock(outer_mutex_);
  for (size_t i = 0; i < values.size(); ++i) values[i] += outer_before_[i];
  if (owned_outer_ != nullptr) io::add_counters(owned_outer_->counters(), io::kOuterCounters, values);
}

io::OuterState Worker::outer_state() const {
  const protocol::MutexLock lock(outer_mutex_);
  return owned_outer_ != nullptr ? owned_outer_->state() : io::OuterState{};
}

void Worker::loop() {
  go_before_programs();
  WorkerPresence presence;
  std::array<io::PollEvent, 16> events;
  while (!stop_) {
    presence.offline();
    const std::span<io::PollEvent> ready =
        polls() ? poller_.wait(events, std::chrono::nanoseconds(0)) : poller_.wait(events);
    presence.online();
    stats_.wakeups.add(1);
    bool called = false, inner_ready = false, outer_ready = false;
    for (const io::PollEvent& event : ready) {
      called |= event.tag == kTagWakeup;
      inner_ready |= event.tag == kTagInner;
      outer_ready |= event.tag == kTagOuter;
    }
    if (called) {
      run_tasks();
      control_outbox_.send(outer_);
    }
    if (outer_ready || polls_outer_) run_inbound();
    if (inner_ready || polls_inner_) run_outbound();
  }
}

void Worker::run_tasks() {
  wakeup_.drain();
  std::vector<Task> tasks;
  {
    const protocol::MutexLock lock(tasks_mutex_);
    tasks.swap(tasks_);
  }
  for (const Task& task : tasks) task();
}

void Worker::run_inbound() {
  if (outer_ != nullptr) inbound_.run(inner_, *outer_, clock_());
}

void Worker::run_outbound() {
  size_t read = 0;
  const io::ReadOutcome outcome = outbound_.run(inner_, outer_, clock_(), read);
  if (outcome != io::ReadOutcome::gone) return;
  polls_inner_ = false;
  for (const int fd : inner_.poll_fds()) (void)poller_.remove(fd);
  inner_gone_.store(true, std::memory_order_release);  // pairs with the acquire in inner_gone()
  control_.notify();
}

void Worker::watch_outer(bool watch) {
  polls_outer_ = watch && outer_ != nullptr && outer_->poll_fds().empty();
  if (outer_ == nullptr) return;
  // A descriptor that cannot be watched is one that was closed under us: the others go on.
  for (const int fd : outer_->poll_fds()) (void)(watch ? poller_.add(fd, kTagOuter) : poller_.remove(fd));
}

}  // namespace culvert::pipeline
