// What a core of a gateway on DPDK does: the whole data path between ports in memory, encrypting and decrypting.
//
// Frames lie in a ring when the clock starts, as a network card has put them there; freeing what was sent is inside. A
// round is a few batches of the path, of the path with a clock around each call of a side, and of the AEAD alone on as
// many messages of the same lengths, as many at a time, in mbufs of the same pool. All figures are medians over the
// rounds, and `aead_share` is the median of the ratio within a round: how much of the AEAD's own rate is left. What a
// network card's driver costs is not in it. `warm`: 128 mbufs that are used again and again; cold: 8192.
#include <rte_cycles.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bench/dpdk/world.h"
#include "bench/inner_traffic.h"
#include "crypto/aead.h"
#include "src/protocol/messages.h"

namespace culvert::bench {
namespace {

constexpr size_t kBatch = 64;
constexpr size_t kTransportBytes = sizeof(protocol::TransportHeader);

struct Options {
  size_t rounds = 300;
  bool cold = false;
};

// Clocks around the calls of a side, in cycles of the time stamp counter.
struct Stage {
  uint64_t cycles = 0;
  template <typename Call>
  auto timed(Call call) {
    const uint64_t start = rte_rdtsc();
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      cycles += rte_rdtsc() - start;
    } else {
      auto result = call();
      cycles += rte_rdtsc() - start;
      return result;
    }
  }
};

struct TimedInner final : io::InnerSide {
  explicit TimedInner(io::InnerSide& timed_side) : side(timed_side) {}
  io::ReadOutcome read(io::PlainBatch& batch) override {
    return in.timed([&] { return side.read(batch); });
  }
  void release(io::PlainBatch& batch) override {
    home.timed([&] { side.release(batch); });
  }
  size_t write(std::span<const io::GatheredPacket> packets) override {
    return out.timed([&] { return side.write(packets); });
  }
  [[nodiscard]] io::InnerOffloads offloads() const override { return side.offloads(); }
  [[nodiscard]] const io::InnerCounters& counters() const override { return side.counters(); }

  io::InnerSide& side;
  Stage in, out, home;
};

struct TimedOuter final : io::OuterSide {
  explicit TimedOuter(io::OuterSide& timed_side) : side(timed_side) {}
  void receive(io::Received& batch) override {
    in.timed([&] { side.receive(batch); });
  }
  void release(io::Received& batch) override {
    home.timed([&] { side.release(batch); });
  }
  void lend(io::Sending& batch) override {
    lent.timed([&] { side.lend(batch); });
  }
  void send(io::Sending& batch) override {
    out.timed([&] { side.send(batch); });
  }
  [[nodiscard]] const io::OuterCounters& counters() const override { return side.counters(); }

  io::OuterSide& side;
  Stage in, lent, out, home;
};

// What was measured of one traffic in one direction: cycles of each round.
struct Rounds {
  std::vector<double> path, aead, share;
  std::map<std::string, std::vector<double>> stages;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const PacketMix& mix, InnerPacket::Kind kind, bool joins, const Options& options)
      : mix_(mix),
        kind_(kind),
        options_(options),
        count_(options.cold ? 8192 : 2 * kBatch),
        world_("pool" + std::string(mix.name) + (joins ? "j" : "") + (options.cold ? "c" : ""),
               *std::max_element(mix.bytes.begin(), mix.bytes.end()) > 1440 ? 9000 : 1500,
               static_cast<uint32_t>(2 * count_ + 1023)),
        far_written_(world_.far_inner_side, joins) {
    for (size_t i = 0; i < count_; ++i)
      templates_.push_back(make_packet(in_order(kind_, mix_.at(i), static_cast<uint32_t>(i))));
    for (const Bytes& packet : templates_) bytes_ += packet.size();
    mbufs_.resize(count_);
    messages_.resize(count_);
  }

  void run() {
    for (size_t i = 0; i < options_.rounds; ++i) {
      measure_encrypt();
      measure_decrypt();
    }
  }

  Rounds encrypt, decrypt;
  [[nodiscard]] double packets() const { return static_cast<double>(count_); }
  [[nodiscard]] double bytes() const { return static_cast<double>(bytes_); }

 private:
  [[noreturn]] void fail(const char* what) const {
    std::fprintf(stderr, "dpdk_bench: %s: %s\n", mix_.name, what);
    std::exit(1);
  }

  void allocate() {
    if (rte_pktmbuf_alloc_bulk(world_.pool.get(), mbufs_.data(), static_cast<unsigned>(count_)) != 0)
      fail("the pool is empty");
  }

  // Plain frames into the near inner port.
  void fill() {
    allocate();
    for (size_t i = 0; i < count_; ++i) {
      const Bytes& packet = templates_[i];
      rte_mbuf* const mbuf = mbufs_[i];
      auto* const frame = reinterpret_cast<uint8_t*>(
          rte_pktmbuf_append(mbuf, static_cast<uint16_t>(packet.size() + dpdk::kEthernetBytes)));
      std::memcpy(frame + dpdk::kEthernetBytes, packet.data(), packet.size());
      (void)dpdk::write_link_header({{2, 0, 0, 0, 0, 9}, 0}, world_.near_inner.port().mac(), packet[0] >> 4 == 6,
                                    frame + dpdk::kEthernetBytes);
    }
    world_.near_inner.arrive(mbufs_);
  }

  // Seals everything that is there. Returns how many datagrams left.
  size_t seal_all(io::InnerSide& inner, io::OuterSide& outer, bool complete) {
    size_t sent = 0;
    for (size_t read = 1; read > 0;) {
      (void)world_.near_end.outbound().run(inner, &outer, DataPathEnd::kNow, read);
      if (complete) sent += world_.near_outer.complete();
    }
    return sent;
  }

  size_t open_all(io::InnerSide& inner, io::OuterSide& outer) {
    size_t received = 0;
    while (const size_t step = world_.far_end.inbound().run(inner, outer, DataPathEnd::kNow)) {
      received += step;
      (void)world_.far_inner.complete();
    }
    return received;
  }

  // Sealed frames into the far outer port.
  void fill_sealed() {
    fill();
    (void)seal_all(world_.near_inner_side, world_.near_outer_side, false);
    if (world_.near_outer.take(mbufs_) != count_) fail("a packet was dropped on its way out");
    world_.far_outer.arrive(mbufs_);
  }

  double padded(size_t i) const { return static_cast<double>(protocol::padded_length(templates_[i].size(), 1420)); }

  // Messages of the lengths of the packets, in mbufs, as the path has them.
  void fill_messages() {
    allocate();
    for (size_t i = 0; i < count_; ++i) {
      uint8_t* const text = rte_pktmbuf_mtod(mbufs_[i], uint8_t*) + dpdk::kEthernetBytes;
      std::memcpy(text, templates_[i].data(), templates_[i].size());
      messages_[i] = {world_.near_end.keypair().sending_key(), i, text, text, static_cast<uint32_t>(padded(i))};
    }
  }
  void free_messages() { rte_pktmbuf_free_bulk(mbufs_.data(), static_cast<unsigned>(count_)); }

  void seal_messages() {
    for (size_t at = 0; at < count_; at += kBatch)
      crypto::seal(std::span(messages_).subspan(at, std::min(kBatch, count_ - at)));
  }

  void measure_encrypt();
  void measure_decrypt();
  void add(Rounds& rounds, double path, double aead) const {
    rounds.path.push_back(path / packets());
    rounds.aead.push_back(aead / packets());
    rounds.share.push_back(aead / path);
  }

  const PacketMix mix_;
  const InnerPacket::Kind kind_;
  const Options options_;
  const size_t count_;
  World world_;
  JoiningPort far_written_;
  std::vector<Bytes> templates_;
  size_t bytes_ = 0;
  std::vector<rte_mbuf*> mbufs_;
  std::vector<crypto::SealMessage> messages_;
};

void Bench::measure_encrypt() {
  fill();
  uint64_t start = rte_rdtsc();
  const size_t sent = seal_all(world_.near_inner_side, world_.near_outer_side, true);
  const auto path = static_cast<double>(rte_rdtsc() - start);
  if (sent != count_) fail("a packet was dropped on its way out");

  fill_messages();
  start = rte_rdtsc();
  seal_messages();
  const auto aead = static_cast<double>(rte_rdtsc() - start);
  free_messages();
  add(encrypt, path, aead);

  fill();
  TimedInner inner(world_.near_inner_side);
  TimedOuter outer(world_.near_outer_side);
  (void)seal_all(inner, outer, true);
  for (const auto& [name, stage] :
       {std::pair{"read", inner.in}, {"lend", outer.lent}, {"send", outer.out}, {"release", inner.home}})
    encrypt.stages[name].push_back(static_cast<double>(stage.cycles) / packets());
}

void Bench::measure_decrypt() {
  fill_sealed();
  uint64_t start = rte_rdtsc();
  const size_t received = open_all(far_written_, world_.far_outer_side);
  const auto path = static_cast<double>(rte_rdtsc() - start);
  if (received != count_) fail("a datagram was dropped on its way in");

  fill_messages();
  seal_messages();
  std::vector<crypto::OpenMessage> to_open(count_);
  for (size_t i = 0; i < count_; ++i) {
    const crypto::SealMessage& sealed = messages_[i];
    to_open[i] = {sealed.key, sealed.counter, sealed.destination, sealed.destination, sealed.length, false};
  }
  start = rte_rdtsc();
  for (size_t at = 0; at < count_; at += kBatch)
    (void)crypto::open(std::span(to_open).subspan(at, std::min(kBatch, count_ - at)));
  const auto aead = static_cast<double>(rte_rdtsc() - start);
  if (!to_open[0].authentic) fail("a message did not open");
  free_messages();
  add(decrypt, path, aead);

  fill_sealed();
  TimedInner inner(far_written_);
  TimedOuter outer(world_.far_outer_side);
  (void)open_all(inner, outer);
  for (const auto& [name, stage] : {std::pair{"receive", outer.in}, {"write", inner.out}, {"release", outer.home}})
    decrypt.stages[name].push_back(static_cast<double>(stage.cycles) / packets());
}

struct Figures {
  double mpps, gbps, share, cycles, aead;
};

Figures figures_of(const Bench& bench, const Rounds& rounds) {
  const double cycles = median(rounds.path);
  const double per_second = static_cast<double>(rte_get_tsc_hz()) / cycles;
  return {per_second / 1e6, per_second * bench.bytes() / bench.packets() * 8 / 1e9, median(rounds.share), cycles,
          median(rounds.aead)};
}

void print_row(const char* name, const Figures& got, const Rounds& rounds) {
  std::printf("%-22s %7.2f %7.2f %10.2f %8.0f %6.0f  ", name, got.mpps, got.gbps, got.share, got.cycles, got.aead);
  double rest = got.cycles - got.aead;
  for (const auto& [stage, cycles] : rounds.stages) {
    std::printf(" %s %.0f", stage.c_str(), median(cycles));
    rest -= median(cycles);
  }
  std::printf(" rest %.0f\n", rest);
}

int run(const Options& options, bool json) {
  const bool huge = start_eal();
  dpdk::register_this_thread();
  std::vector<PacketMix> mixes = packet_mixes();
  mixes.push_back({"8900", {8900}});
  std::map<std::string, std::map<std::string, Figures>> all;
  if (!json)
    std::printf("%s data, %s; cycles of the time stamp counter a packet\n%-22s %7s %7s %10s %8s %6s   %s\n",
                options.cold ? "cold" : "warm", huge ? "hugepages" : "no hugepages", "", "Mpps", "Gb/s", "aead_share",
                "cycles", "AEAD", "of these, in calls of the sides and in the pipeline beside the AEAD");
  for (const PacketMix& mix : mixes) {
    const std::string name = mix.name;
    for (const bool joins : {false, true}) {
      if (joins && (json || name == "64" || name == "imix")) continue;
      Bench bench(mix, joins ? InnerPacket::Kind::tcp4 : InnerPacket::Kind::udp4, joins, options);
      bench.run();
      const Figures encrypt = figures_of(bench, bench.encrypt), decrypt = figures_of(bench, bench.decrypt);
      if (!joins) all["encrypt"][name] = encrypt, all["decrypt"][name] = decrypt;
      if (json) continue;
      if (!joins) print_row(("encrypt " + name).c_str(), encrypt, bench.encrypt);
      print_row(("decrypt " + name + (joins ? " joined" : "")).c_str(), decrypt, bench.decrypt);
      if (joins) continue;
      const double both = 2 / (1 / encrypt.mpps + 1 / decrypt.mpps);
      std::printf("%-22s %7.2f %7.2f\n", ("both " + name).c_str(), both, both * encrypt.gbps / encrypt.mpps);
    }
  }
  if (!json) return 0;
  const char* outer = "{";
  for (const auto& [direction, sizes] : all) {
    std::printf("%s\"%s\": {", outer, direction.c_str());
    const char* inner = "";
    for (const auto& [name, got] : sizes) {
      std::printf("%s\"%s\": {\"mpps\": %.3f, \"gbps\": %.3f, \"aead_share\": %.3f}", inner, name.c_str(), got.mpps,
                  got.gbps, got.share);
      inner = ", ";
    }
    std::printf("}");
    outer = ", ";
  }
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace culvert::bench

int main(int argc, char** argv) {
  culvert::bench::Options options;
  bool json = false;
  for (const std::string argument : std::span(argv, static_cast<size_t>(argc)).subspan(1)) {
    if (argument == "--json") {
      json = true;
    } else if (argument == "--cold") {
      options.cold = true;
    } else if (argument.starts_with("--rounds=")) {
      options.rounds = std::max(1UL, std::strtoul(argument.c_str() + 9, nullptr, 10));
    } else {
      std::fprintf(stderr, "usage: dpdk_bench [--json] [--cold] [--rounds=N]\n");
      return 2;
    }
  }
  return culvert::bench::run(options, json);
}
