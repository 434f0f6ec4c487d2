// One core's share of an interface's data path: runs both pipelines to completion, batch by batch, on a thread that it
// may share with workers of other interfaces (worker_thread.h).
//
// Each turn:
//   1. wait      until a side is readable or the control thread calls; a side
//                that has to be polled is waited for by short rests only, and
//                while it has traffic not at all                                   (this thread)
//   2. work      what the control thread asked for                                 (this thread)
//   3. control   its handshake messages and keepalives                             (this thread)
//   4. inbound   what is there from the outer side, if it is readable or polled    (this thread)
//   5. outbound  a batch from the inner side, if it is readable or polled          (this thread)
// One thread for both directions: bench/RESULTS.md has what two would give and cost.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "io/cpu_times.h"
#include "io/inner_side.h"
#include "io/outer_side.h"
#include "io/poller.h"
#include "io/result.h"
#include "io/wakeup.h"
#include "src/pipeline/clock.h"
#include "src/pipeline/control_outbox.h"
#include "src/pipeline/inbound.h"
#include "src/pipeline/outbound.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/stats.h"
#include "src/pipeline/worker_thread.h"
#include "src/protocol/mutex.h"

namespace culvert::pipeline {

struct WorkerOptions {
  BootClockReader clock = read_boot_clock;  // called on the worker's thread
  size_t number = 0;                        // in the slot table
  std::vector<int> cpus = {};               // that it may run on; empty: all that the process may
  bool held = false;                        // see hold()
  bool busy_poll = false;                   // never rests while a side has to be polled
  // How often the control thread is notified while there is traffic, to look at the worker's load. Zero: never.
  protocol::Duration beat{};
  WorkerThreads* threads = nullptr;  // whose threads are shared; null: it has one of its own
};

// Thread safety: the public methods are the control thread's; mailbox() and stats() say their own rules. The
// private methods run on the worker's thread.
class Worker final : private Turned {
 public:
  // Starts the thread, unless it is there. `control` is notified when the mailbox has something, and when the inner
  // side is gone. All three outlive the worker. What it works in is allocated on its own thread, once that is where it
  // may run: on its node. Errors: EMFILE, ENFILE, EAGAIN, EINVAL (none of the CPUs may be used).
  static io::Result<std::unique_ptr<Worker>> start(const Published& published, const io::Wakeup& control,
                                                   io::InnerSide& inner, const WorkerOptions& options = {});

  // Leaves the thread, and ends it if it was the last one there; staged packets are dropped.
  ~Worker() override;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Uses this outer side from now on; null stops both directions. Returns when the worker has let go of the
  // old one, so that its sockets may be closed.
  void adopt_outer(std::unique_ptr<io::OuterSide> outer);

  // Has the worker send a handshake message, cookie reply or keepalive. Does not wait. False when it is behind: then
  // the datagram is dropped and counted. The worker is woken once for a few of them, and by announce_control(), which
  // the caller has to call before it sleeps: a wake-up each would cost a tenth of the rate of handshakes.
  [[nodiscard]] bool send_control(const ControlDatagram& datagram);
  void announce_control();

  // How many datagrams send_control() takes now.
  size_t control_room() const { return control_outbox_.room(); }

  // Has the worker send what it staged for the peer. Does not wait.
  void flush_staged(PeerPath& path);

  // Whether the worker has staged anything. Whoever has acquired a peer's `staged` count knows it of that peer.
  bool has_staged() const { return pipelines_->outbound.staging().size() != 0; }

  // Those that yield a future have the worker do something, and are done when that is ready: so several workers do it
  // at the same time. The worker lives until then.

  // Has the worker drop what it staged for the peers, counted under `reason`, and send what send_control() was given
  // before. After it the paths may be freed; they live until then.
  [[nodiscard]] std::future<void> drop_staged(std::span<PeerPath* const> paths, DropReason reason);

  // While flows move between workers. A worker that is held reads neither side; else it does what it is asked.
  [[nodiscard]] std::future<void> hold();
  [[nodiscard]] std::future<void> release();
  // Passes on what waits on both sides, up to what their queues may hold: whoever gets its flows sends what comes
  // later. What is staged moves to `staged`, which lives until then; null: it is dropped.
  [[nodiscard]] std::future<void> drain(std::vector<WaitingPacket>* staged = nullptr);
  // Stages what another worker had staged, whose flows it gets, before it reads any packet of these. `staged` lives
  // until then.
  [[nodiscard]] std::future<void> stage(std::span<const WaitingPacket> staged);

  Mailbox& mailbox() { return mailbox_; }
  const Mailbox& mailbox() const { return mailbox_; }
  const WorkerStats& stats() const { return stats_; }
  // Adds what the outer sides have counted, this one and those before it: nothing counts backwards when sockets are
  // opened anew.
  void add_outer_counters(io::CounterValues<io::kOuterCounters.size()>& values) const;
  io::OuterState outer_state() const;
  const io::InnerCounters& inner_counters() const { return inner_.counters(); }
  io::InnerOffloads inner_offloads() const { return inner_.offloads(); }
  // Of its thread, with all that runs there; see WorkerThread.
  std::optional<io::CpuTimes> cpu_times() const { return thread_->cpu_times(); }
  // Whether the inner side was deleted.
  bool inner_gone() const { return inner_gone_.load(std::memory_order_acquire); }

 private:
  using Task = std::function<void()>;  // control path only

  struct Pipelines {
    Pipelines(const Published& published, Mailbox& mailbox, WorkerStats& stats)
        : outbound(published, mailbox, stats), inbound(published, mailbox, stats) {}

    Outbound outbound;
    Inbound inbound;
  };

  Worker(const Published& published, const io::Wakeup& control, io::InnerSide& inner, const WorkerOptions& options,
         io::Poller poller, io::Wakeup wakeup);
  void post(Task task);
  [[nodiscard]] std::future<void> ask(Task task);

  // Turned.
  void turn(WorkerPresence& presence, bool may_sleep) override;
  int fd() const override { return poller_.fd(); }
  bool polls() const override { return polls_inner_ || polls_outer_; }
  void wake() const override { wakeup_.notify(); }

  void run_tasks();
  std::span<io::PollEvent> wait_for_events(std::span<io::PollEvent> events);
  size_t run_inbound();
  size_t run_outbound();
  void watch_inner(bool watch);
  void watch_outer(bool watch);
  void pass_on_what_waits();
  void beat(protocol::Instant now);

  // Constant after construction.
  const Published& published_;
  const io::Wakeup& control_;
  const BootClockReader clock_;
  const bool busy_poll_;
  const protocol::Duration beat_;

  io::Poller poller_;
  io::Wakeup wakeup_;
  io::InnerSide& inner_;
  WorkerStats stats_;
  Mailbox mailbox_;

  // The control thread's: how many datagrams the worker was not woken for.
  static constexpr size_t kControlsPerWakeup = 8;
  size_t unannounced_ = 0;

  ControlOutbox control_outbox_{stats_, mailbox_.traffic};

  // The worker thread's.
  std::unique_ptr<Pipelines> pipelines_;
  io::OuterSide* outer_ = nullptr;  // owned_outer_
  bool held_;
  std::array<io::PollEvent, 16> events_;
  bool polls_inner_, polls_outer_ = false;  // sides without descriptors
  protocol::Instant beat_at_{};             // the last time
  unsigned idle_turns_ = 0;                 // since a turn last had traffic
  unsigned turns_unlooked_ = 0;             // since descriptors were last looked at

  // Replaced by the worker, which reads it without the mutex by a pointer of its own; others ask it for its counters.
  mutable protocol::Mutex outer_mutex_;
  std::unique_ptr<io::OuterSide> owned_outer_ GUARDED_BY(outer_mutex_);
  // What those before owned_outer_ have counted.
  io::CounterValues<io::kOuterCounters.size()> outer_before_ GUARDED_BY(outer_mutex_){};

  protocol::Mutex tasks_mutex_;
  std::vector<Task> tasks_ GUARDED_BY(tasks_mutex_);

  std::atomic<bool> inner_gone_{false};
  std::shared_ptr<WorkerThread> thread_;
};

}  // namespace culvert::pipeline
