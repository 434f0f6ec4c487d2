#include "src/device/worker_pool.h"

#include <linux/membarrier.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <future>
#include <thread>
#include <utility>

#include "io/fd.h"
#include "io/udp_side.h"
#include "io/udp_steering.h"
#include "src/log.h"
#include "src/protocol/index_table.h"

namespace culvert::device {
namespace {

// The top byte of a receiver index: src/protocol/ writes it and io/ reads it, and neither may include the other.
static_assert(protocol::kHomeSlots == io::kSlots);
static_assert((protocol::kHomeSlots - 1) << io::kHomeSlotShift == io::kHomeSlotMask);
static_assert(uint32_t{protocol::kSpreadBit} << io::kHomeSlotShift == io::kSpreadBit);

// Returns once the kernel has queued whatever it was about to queue by the table as it was before: the programs and the
// queueing behind them run in one read-side section, and membarrier(2) waits for all of these. Where it is refused
// (nohz_full, sandboxes) there is time for what takes microseconds.
void wait_for_kernel() {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

void wait_for_all(const std::vector<std::future<void>>& answers) {
  for (const std::future<void>& answer : answers) answer.wait();
}

// Whether the kernel takes our eBPF program for sockets.
io::Status try_ebpf(io::EbpfSocketSteering& steering) {
  for (const io::Family family : {io::Family::v4, io::Family::v6}) {
    const io::Fd socket(::socket(family == io::Family::v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) continue;
    io::Status prepared = steering.prepare(family, socket.get(), 2);
    steering.forget(socket.get());
    return prepared;
  }
  return io::Error{EAFNOSUPPORT, "open a UDP socket"};
}

}  // namespace

WorkerPool::WorkerPool(pipeline::Published& published, const io::Wakeup& control, pipeline::BootClockReader clock,
                       io::Engine udp_engine)
    : published_(published), control_(control), clock_(clock), udp_engine_(udp_engine) {}

io::Status WorkerPool::start(io::InnerDevice& inner, const WorkerPlan& plan) {
  inner_ = &inner;
  plan_ = plan;
  fixed_because_ = prepare_steering();
  std::string missing = fixed_because_;
  if (io::Status started = add_worker(nullptr); !started) return started;
  if (map_ != nullptr && plan.count > 1) {
    if (io::Status added = add_workers(plan.count, nullptr); !added) missing = added.error().text();
    if (io::Status moved = move_slots_to(size()); !moved) return moved;
  }
  if (size() < plan.count && plan.insisted)
    log_error("Workers: {} instead of {}, because of: {}", size(), plan.count, missing);
  else
    log_verbose("Workers: {}{}{}", size(), missing.empty() ? "" : "; ", missing);
  return io::Success{};
}

// The inner side may be a port as well, which spreads packets by itself; a TUN device wants the table of slots.
io::Status WorkerPool::start(io::InnerDevice& inner, const WorkerPlan& plan, const io::OuterDevice& outer) {
  inner_ = &inner;
  plan_ = plan;
  fixed_because_ = "the ports were opened for " + std::to_string(outer.queue_count());
  if (outer.queue_count() > inner.queue_count()) {
    io::Status prepared = inner.can_grow() ? prepare_map() : io::Error{EOPNOTSUPP, "there is one queue inside"};
    if (!prepared) return io::Error{prepared.error().number, prepared.error().context + " (use --workers 1)"};
  }
  if (io::Status added = add_workers(outer.queue_count(), nullptr); !added) return added;
  if (map_ != nullptr)
    if (io::Status moved = move_slots_to(size()); !moved) return moved;
  log_verbose("Workers: {}; {}", size(), fixed_because_);
  return io::Success{};
}

// Yields why the number of workers is fixed, or nothing. Without map_ it is one.
std::string WorkerPool::prepare_steering() {
  if (!inner_->can_grow()) return "the inner side has one queue";
  if (io::Status prepared = prepare_map(); !prepared) return prepared.error().text();
  auto ebpf = std::make_unique<io::EbpfSocketSteering>(*map_);
  if (io::Status possible = try_ebpf(*ebpf); !possible) {
    socket_steering_ = std::make_unique<io::ClassicSocketSteering>();
    return "datagrams are steered by classic BPF, because of: " + possible.error().text();
  }
  socket_steering_ = std::move(ebpf);
  return {};
}

// Before there is a second queue, so that no packet is spread in another way.
io::Status WorkerPool::prepare_map() {
  auto map = io::SteeringMap::create(table_);
  if (!map) return map.error();
  if (io::Status steered = inner_->steer(**map); !steered) return steered;
  map_ = std::move(*map);
  return io::Success{};
}

io::Status WorkerPool::resize(size_t count, io::UdpSocketGroup* sockets,
                              const std::function<void(const pipeline::Worker&)>& leaving) {
  if (count == size()) return io::Success{};
  if (count == 0 || count > io::kMaxWorkers) return io::Error{EINVAL, "there are 1 to 128 workers"};
  if (!fixed_because_.empty())
    return io::Error{EOPNOTSUPP, "there can be no other number of workers here: " + fixed_because_};
  const size_t before = size();
  plan_.insisted = true;
  balance_ = {};
  looked_at_ = {};
  io::Status done = count > before ? add_workers(count, sockets) : io::Success{};
  if (done) done = move_slots_to(count);
  const size_t kept = done ? count : before;
  for (size_t i = kept; i < size(); ++i) leaving(*workers_[i]);
  remove_workers(kept, sockets);
  if (done) log_verbose("Workers: {} instead of {}", count, before);
  return done;
}

// They have no slot, and so nothing to do, before move_slots_to().
io::Status WorkerPool::add_workers(size_t count, io::UdpSocketGroup* sockets) {
  while (size() < count)
    if (io::Status added = add_worker(sockets); !added) return added;
  return io::Success{};
}

io::Status WorkerPool::add_worker(io::UdpSocketGroup* sockets) {
  const size_t number = size();
  if (number >= inner_->queue_count())
    if (io::Status added = inner_->add_queue(); !added) return added;
  const auto take_back_queue = [&] {
    if (number > 0) inner_->remove_last_queue();
  };
  if (sockets != nullptr && number >= sockets->size()) {
    if (io::Status added = sockets->add_member(); !added) {
      take_back_queue();
      return added;
    }
  }
  pipeline::WorkerOptions options;
  options.clock = clock_;
  options.number = number;
  if (!plan_.cpus.empty()) options.cpus = plan_.cpus[number % plan_.cpus.size()];
  options.held = number > 0 && map_ != nullptr;
  options.busy_poll = plan_.busy_poll;
  if (plan_.balanced && map_ != nullptr) options.beat = WorkerBalance::kPeriod;
  options.threads = plan_.threads;
  auto worker = pipeline::Worker::start(published_, control_, inner_->queue(number), options);
  if (!worker) {
    if (sockets != nullptr && number > 0) sockets->remove_last_member();
    take_back_queue();
    return worker.error();
  }
  workers_.push_back(std::move(*worker));
  if (sockets != nullptr) workers_.back()->adopt_outer(io::UdpSide::make(sockets->member(number), udp_engine_));
  return io::Success{};
}

// Those behind the first `count`, which have no slots any more.
void WorkerPool::remove_workers(size_t count, io::UdpSocketGroup* sockets) {
  while (size() > count) {
    pipeline::Worker& last = *workers_.back();
    last.adopt_outer(nullptr);
    last.drain().wait();  // a peer counts what is staged for it
    remember_counters();
    workers_.pop_back();
    if (sockets != nullptr && sockets->size() > size()) sockets->remove_last_member();
    inner_->remove_last_queue();
  }
}

// What is staged can move with its flows where one worker gets all of those. Else nobody knows who would send it in
// order.
bool WorkerPool::hands_over_staged(const io::SlotMoves& moves, size_t workers) {
  return moves.gaining.count() == 1 && (moves.losing << (io::kMaxWorkers - workers)).none();
}

// Without reordering a flow: who gets it stands still until who had it is done with it.
io::Status WorkerPool::move_slots_to(size_t workers) {
  io::SteeringTable after = table_;
  after.resize(workers);
  const io::SlotMoves moves = io::moves_between(table_, after);
  const auto ask_each = [this](const std::bitset<io::kMaxWorkers>& chosen, auto&& request) {
    std::vector<std::future<void>> answers;
    for (size_t i = 0; i < size(); ++i)
      if (chosen[i]) answers.push_back(request(*workers_[i]));
    wait_for_all(answers);
  };
  ask_each(moves.gaining, [](pipeline::Worker& worker) { return worker.hold(); });
  io::Status moved = map_->set(after);
  if (moved) {
    table_ = after;
    wait_for_kernel();
    std::deque<std::vector<pipeline::WaitingPacket>> staged;
    ask_each(moves.losing, [&](pipeline::Worker& worker) {
      return worker.drain(hands_over_staged(moves, workers) ? &staged.emplace_back() : nullptr);
    });
    for (const auto& packets : staged)
      ask_each(moves.gaining, [&](pipeline::Worker& worker) { return worker.stage(packets); });
  }
  ask_each(moves.gaining, [](pipeline::Worker& worker) { return worker.release(); });
  return moved;
}

io::Status WorkerPool::serve(size_t workers) {
  if (workers == serving()) return io::Success{};
  if (workers == 0 || workers > size() || map_ == nullptr) return io::Error{EINVAL, "there are no such workers"};
  return move_slots_to(workers);
}

bool WorkerPool::balance(protocol::Instant now) {
  if (!plan_.balanced || map_ == nullptr || size() < 2) return false;
  // Each worker calls once a period, by a clock of its own.
  if (now - looked_at_ < WorkerBalance::kPeriod * 3 / 4) return false;
  WorkerBalance next = balance_;
  const size_t before = serving(), wanted = next.advise(before, size(), look_at_load(now));
  // What is staged would be lost.
  if (wanted != before && wanted != 1 && has_staged()) return false;
  balance_ = next;
  if (wanted == before) return false;
  if (const io::Status moved = serve(wanted); !moved) {
    log_error("Workers that serve: {} as before, because of: {}", before, moved.error().text());
    return false;
  }
  log_verbose("Workers that serve: {} instead of {}, of {}", wanted, before, size());
  return true;
}

bool WorkerPool::has_staged() const {
  return std::any_of(
      workers_.begin(), workers_.end(), [](const auto& worker) { return worker->has_staged(); });
}

// Since the last look.
WorkerLoad WorkerPool::look_at_load(protocol::Instant now) {
  WorkerLoad load;
  load.elapsed = load.least_at_rest = now - std::exchange(looked_at_, now);
  for (size_t i = 0; i < size(); ++i) {
    const pipeline::WorkerStats& stats = workers_[i]->stats();
    const Seen seen = {workers_[i]->cpu_times().value_or(io::CpuTimes{}),
                       stats.messages_sealed.get() + stats.messages_opened.get()};
    const Seen before = std::exchange(seen_[i], seen);
    if (i >= serving()) continue;
    const protocol::Duration ran = seen.times.ran - before.times.ran, waited = seen.times.waited - before.times.waited;
    load.ran += ran;
    load.waited += waited;
    load.most_ran = std::max(load.most_ran, ran);
    load.least_at_rest = std::min(load.least_at_rest, load.elapsed - ran - waited);
    load.messages += seen.messages - before.messages;
  }
  return load;
}

void WorkerPool::adopt(io::UdpSocketGroup* sockets) {
  for (size_t i = 0; i < size(); ++i)
    workers_[i]->adopt_outer(sockets != nullptr ? io::UdpSide::make(sockets->member(i), udp_engine_) : nullptr);
}

void WorkerPool::adopt(io::OuterDevice& outer) {
  for (size_t i = 0; i < size(); ++i) workers_[i]->adopt_outer(outer.make_side(i));
}

void WorkerPool::flush_staged(pipeline::PeerPath& path) {
  for (const auto& worker : workers_)
    if (worker->has_staged()) worker->flush_staged(path);
}

void WorkerPool::drop_staged(std::span<pipeline::PeerPath* const> paths, pipeline::DropReason reason, bool everybody) {
  std::vector<std::future<void>> answers;
  for (const auto& worker : workers_)
    if (everybody || worker->has_staged()) answers.push_back(worker->drop_staged(paths, reason));
  wait_for_all(answers);
}

uint64_t WorkerPool::traffic_of(const pipeline::PeerPath& path, io::Counter pipeline::PeerTraffic::*counter) const {
  uint64_t sum = (path.traffic.*counter).get();
  for (const auto& worker : workers_) sum += (worker->mailbox().traffic.of(path.number).*counter).get();
  return sum;
}

void WorkerPool::forget_traffic(uint32_t peer_number) {
  for (const auto& worker : workers_) worker->mailbox().traffic.clear(peer_number);
}

std::vector<WorkerMetrics> WorkerPool::metrics() const {
  std::vector<WorkerMetrics> metrics = former_;
  metrics.resize(std::max(metrics.size(), size()));
  for (size_t i = 0; i < size(); ++i) {
    const pipeline::WorkerStats& stats = workers_[i]->stats();
    io::add_counters<pipeline::WorkerCounters>(stats, pipeline::kWorkerCounters, metrics[i].counters);
    for (size_t reason = 0; reason < pipeline::kDropReasons; ++reason)
      metrics[i].drops[reason] += stats.drops[reason].get();
  }
  return metrics;
}

io::CounterValues<io::kOuterCounters.size()> WorkerPool::outer_counters() const {
  auto sum = former_outer_;
  for (const auto& worker : workers_) worker->add_outer_counters(sum);
  return sum;
}

io::CounterValues<io::kInnerCounters.size()> WorkerPool::inner_counters() const {
  auto sum = former_inner_;
  for (const auto& worker : workers_) io::add_counters(worker->inner_counters(), io::kInnerCounters, sum);
  return sum;
}

// Of the last worker, which is about to end: nothing counts backwards when workers go.
void WorkerPool::remember_counters() {
  const size_t last = size() - 1;
  const WorkerMetrics counted = metrics()[last];
  former_.resize(std::max(former_.size(), size()));
  former_[last] = counted;
  workers_[last]->add_outer_counters(former_outer_);
  io::add_counters(workers_[last]->inner_counters(), io::kInnerCounters, former_inner_);
}

}  // namespace culvert::device
