#include "src/pipeline/worker.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace culvert::pipeline {
namespace {

enum Tag : uint64_t { kTagWakeup, kTagInner, kTagOuter };

// More than waits in any queue that holds no more than it should: a TUN device's is of some thousand packets, a socket
// buffer of 16 MiB holds this many of the shortest messages.
constexpr size_t kMostPacketsWaiting = size_t{1} << 16;
constexpr size_t kMostDatagramsWaiting = size_t{1} << 19;

// A side that has to be polled: after so many turns without traffic the worker rests between two looks, longer and
// longer. The longest rest is what the first packet may wait, and takes about a hundredth of a core.
constexpr unsigned kTurnsBeforeRest = 256;
constexpr std::chrono::microseconds kFirstRest{25};
constexpr unsigned kRestDoublings = 4;
// While it has traffic, descriptors are looked at every so many turns: the other side's, or only the control thread's.
constexpr unsigned kTurnsUnlooked = 4, kTurnsUnlookedByControl = 32;

}  // namespace

io::Result<std::unique_ptr<Worker>> Worker::start(const Published& published, const io::Wakeup& control,
                                                  io::InnerSide& inner, const WorkerOptions& options) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  if (const auto added = poller->add(wakeup->fd(), kTagWakeup); !added) return added.error();
  for (const int fd : inner.poll_fds())
    if (const auto added = poller->add(fd, kTagInner); !added) return added.error();
  auto thread = options.threads != nullptr ? options.threads->get(options.number, options.cpus)
                                           : WorkerThread::start(options.cpus);
  if (!thread) return io::Error{thread.error().number, thread.error().context + " " + std::to_string(options.number)};
  std::unique_ptr<Worker> worker(
      new Worker(published, control, inner, options, std::move(*poller), std::move(*wakeup)));
  Worker& self = *worker;
  if (const io::Status added = (*thread)->add(self,
                                              [&self] {
                                                self.pipelines_ = std::make_unique<Pipelines>(
                                                    self.published_, self.mailbox_, self.stats_);
                                                if (self.held_) self.watch_inner(false);
                                              });
      !added)
    return added.error();
  self.thread_ = std::move(*thread);
  return worker;
}

Worker::Worker(const Published& published, const io::Wakeup& control, io::InnerSide& inner,
               const WorkerOptions& options, io::Poller poller, io::Wakeup wakeup)
    : published_(published),
      control_(control),
      clock_(options.clock),
      busy_poll_(options.busy_poll),
      beat_(options.beat),
      poller_(std::move(poller)),
      wakeup_(std::move(wakeup)),
      inner_(inner),
      mailbox_(control_, options.number),
      held_(options.held),
      polls_inner_(inner.poll_fds().empty()) {}

Worker::~Worker() {
  if (thread_ == nullptr) return;
  ask([] {}).wait();  // what was asked before is done
  thread_->remove(*this);
}

void Worker::post(Task task) {
  {
    const protocol::MutexLock lock(tasks_mutex_);
    tasks_.push_back(std::move(task));
  }
  wakeup_.notify();
}

std::future<void> Worker::ask(Task task) {
  // A task has to be copyable, which a promise is not.
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> answer = done->get_future();
  post([task = std::move(task), done = std::move(done)] {
    task();
    done->set_value();
  });
  return answer;
}

void Worker::adopt_outer(std::unique_ptr<io::OuterSide> outer) {
  ask([&] {
    control_outbox_.send(outer_);  // it is of the old one's time
    watch_outer(false);
    {
      const protocol::MutexLock lock(outer_mutex_);
      // It counts no more: from here on nobody but the caller has it, to close it.
      if (owned_outer_ != nullptr) io::add_counters(owned_outer_->counters(), io::kOuterCounters, outer_before_);
      owned_outer_.swap(outer);
      outer_ = owned_outer_.get();
    }
    watch_outer(!held_);
  }).wait();
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
  post([this, &path] { pipelines_->outbound.flush_staged(path, inner_, outer_, clock_()); });
}

std::future<void> Worker::drop_staged(std::span<PeerPath* const> paths, DropReason reason) {
  return ask([this, paths, reason] {
    control_outbox_.send(outer_);
    for (PeerPath* const path : paths) pipelines_->outbound.drop_staged(*path, reason);
  });
}

std::future<void> Worker::hold() {
  return ask([this] {
    held_ = true;
    watch_inner(false);
    watch_outer(false);
  });
}

std::future<void> Worker::release() {
  return ask([this] {
    held_ = false;
    watch_inner(true);
    watch_outer(true);
  });
}

std::future<void> Worker::drain(std::vector<WaitingPacket>* staged) {
  return ask([this, staged] {
    pass_on_what_waits();
    if (staged != nullptr)
      *staged = pipelines_->outbound.take_all_staged();
    else
      pipelines_->outbound.drop_all_staged(DropReason::staging_full);
  });
}

std::future<void> Worker::stage(std::span<const WaitingPacket> staged) {
  return ask([this, staged] { pipelines_->outbound.stage(staged, clock_()); });
}

void Worker::pass_on_what_waits() {
  size_t read = 1;
  for (size_t left = kMostPacketsWaiting; left > 0 && read > 0; left -= std::min(left, read))
    (void)pipelines_->outbound.run(inner_, outer_, clock_(), read);
  if (outer_ == nullptr) return;
  size_t received = 1;
  for (size_t left = kMostDatagramsWaiting; left > 0 && received > 0; left -= std::min(left, received))
    received = pipelines_->inbound.run(inner_, *outer_, clock_());
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

void Worker::turn(WorkerPresence& presence, bool may_sleep) {
  presence.offline();
  const std::span<io::PollEvent> ready =
      may_sleep ? wait_for_events(events_) : poller_.wait(events_, std::chrono::nanoseconds(0));
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
  if (held_) return;
  size_t handled = 0;
  if (outer_ready || polls_outer_) handled += run_inbound();
  if (inner_ready || polls_inner_) handled += run_outbound();
  if (handled != 0 && beat_ != protocol::Duration::zero()) beat(clock_());
  idle_turns_ = handled != 0 ? 0 : std::min(idle_turns_ + 1, kTurnsBeforeRest + kRestDoublings);
}

void Worker::beat(protocol::Instant now) {
  if (now - beat_at_ < beat_) return;
  beat_at_ = now;
  control_.notify();
}

std::span<io::PollEvent> Worker::wait_for_events(std::span<io::PollEvent> events) {
  if (!polls()) return poller_.wait(events);
  if (idle_turns_ >= kTurnsBeforeRest && !busy_poll_) {
    turns_unlooked_ = 0;
    return poller_.wait(events, kFirstRest * (1U << (idle_turns_ - kTurnsBeforeRest)));
  }
  if (++turns_unlooked_ < (polls_inner_ && polls_outer_ ? kTurnsUnlookedByControl : kTurnsUnlooked)) return {};
  turns_unlooked_ = 0;
  return poller_.wait(events, std::chrono::nanoseconds(0));
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

// Yields how many datagrams there were.
size_t Worker::run_inbound() {
  return outer_ != nullptr ? pipelines_->inbound.run(inner_, *outer_, clock_()) : 0;
}

// Yields how many packets there were.
size_t Worker::run_outbound() {
  size_t read = 0;
  const io::ReadOutcome outcome = pipelines_->outbound.run(inner_, outer_, clock_(), read);
  if (outcome != io::ReadOutcome::gone) return read;
  inner_gone_.store(true, std::memory_order_release);  // pairs with the acquire in inner_gone()
  watch_inner(false);
  control_.notify();
  return read;
}

void Worker::watch_inner(bool watch) {
  watch = watch && !inner_gone();
  polls_inner_ = watch && inner_.poll_fds().empty();
  for (const int fd : inner_.poll_fds()) (void)(watch ? poller_.add(fd, kTagInner) : poller_.remove(fd));
}

void Worker::watch_outer(bool watch) {
  polls_outer_ = watch && outer_ != nullptr && outer_->poll_fds().empty();
  if (outer_ == nullptr) return;
  // A descriptor that cannot be watched is one that was closed under us: the others go on.
  for (const int fd : outer_->poll_fds()) (void)(watch ? poller_.add(fd, kTagOuter) : poller_.remove(fd));
}

}  // namespace culvert::pipeline
