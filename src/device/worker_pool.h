// The workers of a device, and what brings each of them its share: queues of the inner side, sockets, the slot table.
//
// How many there may be depends on the kernel, and the log says so:
//   eBPF for both sides             any number, also while traffic flows
//   eBPF for the inner side alone   the number that the device starts with; classic BPF steers datagrams
//   no eBPF, or only one queue      one worker
//   a port instead of sockets       the number that it was opened with
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/cpu_times.h"
#include "io/engine.h"
#include "io/inner_device.h"
#include "io/outer_device.h"
#include "io/result.h"
#include "io/socket_steering.h"
#include "io/steering_map.h"
#include "io/udp_socket_group.h"
#include "io/wakeup.h"
#include "src/device/metrics.h"
#include "src/device/worker_balance.h"
#include "src/pipeline/clock.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/worker.h"

namespace culvert::device {

// Which workers a device shall have.
struct WorkerPlan {
  size_t count = 1;                    // 1 to io::kMaxWorkers
  std::vector<std::vector<int>> cpus;  // the CPUs of worker i are those of entry i % size; empty: no worker is kept
  bool insisted = false;               // somebody asked for that many: fewer are an error in the log
  bool balanced = false;               // as few of them have slots as carry the load, where processors are short
  bool busy_poll = false;              // sides that have to be polled are polled without a rest
  pipeline::WorkerThreads* threads = nullptr;  // that are shared with other devices, and outlive this one; null: none
};

// Thread safety: the control thread alone.
//
// Invariants: 1. worker i has queue i and member i of the sockets, or queue i of the port in their place; 2. a flow's
// packets are all with one worker, on either side, also while the number of workers changes; 3. control messages are
// worker 0's.
class WorkerPool {
 public:
  // All outlive the pool.
  WorkerPool(pipeline::Published& published, const io::Wakeup& control, pipeline::BootClockReader clock,
             io::Engine udp_engine);

  // Once, before there are sockets. `inner` outlives the pool. Errors: those of Worker::start() for the first one; if
  // there can be fewer than planned it goes on with these.
  io::Status start(io::InnerDevice& inner, const WorkerPlan& plan);
  // The same where `outer` takes the place of sockets: a worker for each of its queues, or an error.
  io::Status start(io::InnerDevice& inner, const WorkerPlan& plan, const io::OuterDevice& outer);

  // Changes the number of workers while traffic flows; no flow is reordered. Those that gain slots stand still until
  // those that lose them have passed on what they had, and the caller waits: some tens of milliseconds. Where more
  // comes in for them than they can carry, they pass on as much as their queues may hold (Worker::drain()), which can
  // take half a second. `sockets` are those in use, null: none. Errors: EINVAL for the number, EOPNOTSUPP where it is
  // fixed, those of Worker::start(), of queues and of sockets; then the number is what it was.
  // `leaving` is called for each worker before it ends: nobody reads its mailbox after that.
  io::Status resize(size_t count, io::UdpSocketGroup* sockets,
                    const std::function<void(const pipeline::Worker&)>& leaving);

  // Gives all slots to the first so many workers, as resize() does it; the others go on without any. Errors: EINVAL for
  // the number, that of the map; then all is as it was.
  io::Status serve(size_t workers);
  // Does so where the plan allows it and the load asks for it (WorkerBalance). Cheap; to be called whenever a worker
  // has notified `control`. True: slots have moved.
  bool balance(protocol::Instant now);

  // Has every worker use its member of the sockets, null: none. Afterwards nobody uses those before.
  void adopt(io::UdpSocketGroup* sockets);
  // The same with sides of a port.
  void adopt(io::OuterDevice& outer);

  // What the sockets of this pool need; null: there is and will be one worker.
  io::SocketSteering* socket_steering() { return socket_steering_.get(); }

  // Ends the workers, the last first.
  void stop() { workers_.clear(); }

  // Which worker serves a slot.
  const io::SteeringTable& table() const { return table_; }

  // Has all workers that hold packets for the peer send them.
  void flush_staged(pipeline::PeerPath& path);
  // Returns when no worker holds packets for these peers. `everybody`: nor a request about them.
  void drop_staged(std::span<pipeline::PeerPath* const> paths, pipeline::DropReason reason, bool everybody);

  // Adds up what workers counted of a peer.
  uint64_t traffic_of(const pipeline::PeerPath& path, io::Counter pipeline::PeerTraffic::*counter) const;
  void forget_traffic(uint32_t peer_number);

  // What the workers have counted, by number, with those that had the number before. As many as there ever were.
  std::vector<WorkerMetrics> metrics() const;
  io::CounterValues<io::kOuterCounters.size()> outer_counters() const;
  io::CounterValues<io::kInnerCounters.size()> inner_counters() const;
  io::DeviceCounts inner_device_counts() const { return inner_ != nullptr ? inner_->counts() : io::DeviceCounts(); }

  // Whether somebody asked for a number.
  bool insisted() const { return plan_.insisted; }

  // Those that have slots; the others have nothing to do.
  size_t serving() const { return table_.workers(); }

  bool empty() const { return workers_.empty(); }
  size_t size() const { return workers_.size(); }
  pipeline::Worker& operator[](size_t i) const { return *workers_[i]; }
  pipeline::Worker& front() const { return *workers_.front(); }
  auto begin() const { return workers_.begin(); }
  auto end() const { return workers_.end(); }

 private:
  std::string prepare_steering();
  io::Status prepare_map();
  io::Status add_workers(size_t count, io::UdpSocketGroup* sockets);
  io::Status add_worker(io::UdpSocketGroup* sockets);
  void remove_workers(size_t count, io::UdpSocketGroup* sockets);
  io::Status move_slots_to(size_t workers);
  static bool hands_over_staged(const io::SlotMoves& moves, size_t workers);
  bool has_staged() const;
  void remember_counters();
  WorkerLoad look_at_load(protocol::Instant now);

  pipeline::Published& published_;
  const io::Wakeup& control_;
  const pipeline::BootClockReader clock_;
  const io::Engine udp_engine_;

  io::InnerDevice* inner_ = nullptr;
  WorkerPlan plan_;
  std::string fixed_because_;             // why the number cannot change; empty: it can
  std::unique_ptr<io::SteeringMap> map_;  // null: one worker
  std::unique_ptr<io::SocketSteering> socket_steering_;
  io::SteeringTable table_;
  std::vector<std::unique_ptr<pipeline::Worker>> workers_;
  // What was seen at the last look at the load.
  struct Seen {
    io::CpuTimes times;
    uint64_t messages = 0;
  };
  WorkerBalance balance_;
  protocol::Instant looked_at_{};
  std::array<Seen, io::kMaxWorkers> seen_{};
  // Of workers that are no more.
  std::vector<WorkerMetrics> former_;
  io::CounterValues<io::kOuterCounters.size()> former_outer_{};
  io::CounterValues<io::kInnerCounters.size()> former_inner_{};
};

}  // namespace culvert::device
