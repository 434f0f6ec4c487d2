// The data path on several cores: each thread is a worker that seals what it reads, and opens and writes what it
// sealed, from memory to memory. All workers serve one peer, or each of them a member of one group.
//
// A benchmark is called one_peer or group, and the number of its threads. `cycles_per_packet` is CPU time of a thread
// for one packet, both ways. `shared_lines` is how many cache lines that another worker uses too a worker writes in a
// batch: after the run one worker takes one more batch each way, and the lines are compared that hold what workers
// share (the published state, and each peer's path, timers and keypair) with those before. The lock of a replay window
// is on the line of its highest counter, and so is counted with it; a line written with what it held before is not.
// `lost` is the share of packets that came too late for the replay window of the one peer: with fewer cores than
// threads a worker loses its core between sealing and opening.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/data_path_ends.h"
#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "src/pipeline/peer_group.h"

namespace culvert::bench {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kBatch = 4;        // superpackets
constexpr uint32_t kSegments = 45;  // of each

// Receives what it was given to send.
class Loop final : public io::OuterSide {
 public:
  explicit Loop(const io::Endpoint& from) : from_(from) {}

  void lend(io::Sending& batch) override { layout_.lay_out(batch); }
  void send(io::Sending& batch) override {
    sent_.assign(batch.datagrams.begin(), batch.datagrams.begin() + batch.count);
    next_ = 0;
  }
  void receive(io::Received& batch) override {
    batch.count = 0;
    batch.envelope_count = 1;
    batch.envelopes[0].endpoint = from_;
    for (; next_ < sent_.size() && batch.count < io::Received::kMaxDatagrams; ++next_) {
      io::Datagram& datagram = batch.datagrams[batch.count++];
      datagram = {};
      datagram.bytes = sent_[next_].bytes;
      datagram.length = sent_[next_].length;
    }
    batch.more = next_ < sent_.size();
  }
  void release(io::Received& batch) override { batch.count = 0; }
  [[nodiscard]] const io::OuterCounters& counters() const override { return counters_; }

 private:
  const io::Endpoint from_;
  io::TrainLayout layout_;
  std::vector<io::Outgoing> sent_;
  size_t next_ = 0;
  io::OuterCounters counters_;
};

io::Endpoint far_end() {
  io::Endpoint endpoint;
  if (!io::parse_endpoint("192.0.2.2:51820", endpoint)) std::abort();
  return endpoint;
}

// A peer with a keypair that needs no handshake; both directions have one key.
struct Peer {
  Peer(uint32_t number, protocol::IndexTable& indices) : path(number + 1, number, keypairs, timers.marks()) {
    (void)timers.start();
    path.endpoint.store(far_end());
    constexpr std::array<uint8_t, 32> kKey{1, 2, 3};
    const uint32_t index = indices.insert_handshake(&path, static_cast<uint8_t>(number), [&] { return number; });
    auto made =
        std::make_unique<protocol::Keypair>(protocol::KeypairParameters{.sending_key = crypto::Secret<32>(kKey),
                                                                        .receiving_key = crypto::Secret<32>(kKey),
                                                                        .created = DataPathEnd::kNow,
                                                                        .local_index = index,
                                                                        .remote_index = index,
                                                                        .i_am_initiator = true,
                                                                        .owner = &path});
    keypair = made.get();
    indices.insert_keypair(keypair);
    (void)keypairs.add(std::move(made));
  }

  protocol::Keypairs keypairs;
  protocol::Timers timers;
  pipeline::PeerPath path;
  protocol::Keypair* keypair = nullptr;
};

// A worker's own.
struct Core {
  Core(const pipeline::Published& published, size_t number)
      : mailbox(*wakeup, number), outbound(published, mailbox, stats), inbound(published, mailbox, stats) {
    std::vector<io::Superpacket> views;
    for (size_t i = 0; i < kBatch; ++i) {
      InnerPacket packet = in_order(InnerPacket::Kind::tcp4, 1420, i);
      const auto segment = static_cast<uint16_t>(packet.payload_bytes);
      packet.payload_bytes *= kSegments;
      views.push_back(view_of(packets.emplace_back(make_superpacket(packet)), packet, segment));
    }
    inner = std::make_unique<PreparedInner>(std::move(views), kBatch);
  }

  void turn() {
    size_t read = 0;
    (void)outbound.run(*inner, &outer, DataPathEnd::kNow, read);
    (void)inbound.run(*inner, outer, DataPathEnd::kNow);
  }

  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  pipeline::Mailbox mailbox;
  pipeline::WorkerStats stats;
  pipeline::Outbound outbound;
  pipeline::Inbound inbound;
  std::vector<Bytes> packets;
  std::unique_ptr<PreparedInner> inner;
  Loop outer{far_end()};
};

// What changes of a piece of memory, by cache lines.
class Lines {
 public:
  template <typename T>
  explicit Lines(const T& object) : from_(reinterpret_cast<uintptr_t>(&object)), bytes_(sizeof object) {
    before_.resize(bytes_);
    std::memcpy(before_.data(), reinterpret_cast<const void*>(from_), bytes_);
  }

  [[nodiscard]] size_t changed() const {
    size_t lines = 0;
    for (uintptr_t at = from_ / kLineBytes * kLineBytes; at < from_ + bytes_; at += kLineBytes) {
      const uintptr_t begin = std::max(at, from_), end = std::min(at + kLineBytes, from_ + bytes_);
      lines += std::memcmp(reinterpret_cast<const void*>(begin), &before_[begin - from_], end - begin) != 0 ? 1 : 0;
    }
    return lines;
  }

 private:
  const uintptr_t from_;
  const size_t bytes_;
  std::vector<uint8_t> before_;
};

struct World {
  World(size_t workers, bool group) {
    for (size_t i = 0; i < (group ? workers : 1); ++i)
      peers.push_back(std::make_unique<Peer>(static_cast<uint32_t>(i), indices));
    std::vector<pipeline::PeerGroup::Member> members;
    for (const auto& peer : peers) members.push_back({&peer->path, members.size()});
    all = std::make_unique<pipeline::PeerGroup>(members, workers);
    for (size_t i = 0; group && i < workers; ++i) all->set_candidates(i, uint64_t{1} << i);
    protocol::PeerHandle const route = group ? static_cast<protocol::PeerHandle>(all.get()) : &peers[0]->path;
    allowed_ips.insert({{}, protocol::IpVersion::v4, 0}, route);
    published.allowed_ips.store(&allowed_ips);
    published.index_table.store(&indices);
    published.mtu.store(1420);
    published.listen_port.store(51820);
    for (size_t i = 0; i < workers; ++i) cores.push_back(std::make_unique<Core>(published, i));
  }

  // By the first worker, in a batch each way; nobody else runs.
  size_t shared_lines_written() {
    cores[0]->turn();  // what is written once in a while is written
    std::vector<Lines> lines;
    lines.emplace_back(published);
    for (const auto& peer : peers) {
      // What the first member of a group has is the first worker's alone.
      if (peers.size() > 1 && peer == peers[0]) continue;
      lines.emplace_back(peer->path);
      lines.emplace_back(peer->timers);
      lines.emplace_back(*peer->keypair);
    }
    cores[0]->turn();
    size_t changed = 0;
    for (const Lines& one : lines) changed += one.changed();
    return changed;
  }

  protocol::IndexTable indices{1024};
  protocol::AllowedIps allowed_ips;
  pipeline::Published published;
  std::vector<std::unique_ptr<Peer>> peers;
  std::unique_ptr<pipeline::PeerGroup> all;
  std::vector<std::unique_ptr<Core>> cores;
};

std::unique_ptr<World> world;

void run(benchmark::State& state) {
  Core& core = *world->cores[static_cast<size_t>(state.thread_index())];
  CpuClock::duration spent{};
  for (auto _ : state) {
    const auto start = CpuClock::now();
    core.turn();
    const auto stop = CpuClock::now();
    spent += stop - start - CpuClock::cost();
    set_iteration_time(state, start, stop);
  }
  const size_t written = core.inner->packets_written();
  using benchmark::Counter;
  const double cycles = std::chrono::duration<double>(spent).count() * CpuClock::cycles_per_second();
  state.counters["cycles_per_packet"] = Counter(cycles / static_cast<double>(written), Counter::kAvgThreads);
  const auto sent = static_cast<double>(static_cast<size_t>(state.iterations()) * kBatch * kSegments);
  state.counters["lost"] = Counter(1 - static_cast<double>(written) / sent, Counter::kAvgThreads);
  if (state.thread_index() == 0 && state.threads() > 1)
    state.counters["shared_lines"] = static_cast<double>(world->shared_lines_written());
}

template <bool kGroup>
void add(const char* name) {
  for (const int threads : {1, 2, 4, 8}) {
    benchmark::RegisterBenchmark(name, run)
        ->Setup([](const benchmark::State& state) {
          world = std::make_unique<World>(static_cast<size_t>(state.threads()), kGroup);
        })
        ->Teardown([](const benchmark::State&) { world.reset(); })
        ->Threads(threads)
        ->UseManualTime();
  }
}

}  // namespace

void register_benchmarks() {
  add<false>("one_peer");
  add<true>("group");
}

}  // namespace culvert::bench
