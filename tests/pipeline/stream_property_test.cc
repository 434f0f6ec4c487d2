// What enters the near TUN device leaves the far one, whatever the offloads, the network and the kernel do: random
// streams through real queues and both pipelines, over a kernel in memory.
//
// Each case follows from its number alone. A failure names it and the fewest steps that show it;
//   CULVERT_STREAM_CASE=N   runs that case only, and says what it does
//   CULVERT_STREAM_CASES=N  runs so many
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "io/udp_side.h"
#include "tests/pipeline/streams.h"

namespace culvert::pipeline {
namespace {

using test::below;
using test::Bytes;
using test::chance;
using test::Datagram;
using test::End;
using test::FakeTun;
using test::FakeUdp;
using test::Flow;
using test::Given;
using test::InnerPacket;
using test::Random;

// Cases in a run. Sanitizers are slow and look for other things, and there is one thread.
#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kCases = 50;
#elif defined(__SANITIZE_ADDRESS__)
constexpr uint32_t kCases = 150;
#else
constexpr uint32_t kCases = 2000;
#endif
constexpr size_t kMaxSteps = 40;

// How often something happened in a run: a test in which it never does proves nothing.
struct Tally {
  size_t packets = 0, superpackets = 0, joined = 0, trains = 0, lost = 0, forged = 0, replayed = 0, staged = 0;
  size_t rekeys = 0, marked = 0, gso_refusals = 0, source_refusals = 0, tun_refusals = 0, send_failures = 0;
};

io::InnerOffloads draw_offloads(Random& random) {
  if (chance(random, 40)) return {true, true, true, true, true};
  if (chance(random, 15)) return {};
  const auto bit = [&] { return chance(random, 60); };
  return {bit(), bit(), bit(), bit(), chance(random, 85)};
}

// An end with real queues.
struct Host {
  Host(const std::string& address, Random& random, const io::InnerOffloads& claims, bool has_header,
       const io::UdpOptions& options)
      : end(address),
        tun(has_header, random),
        inner(tun.open(), has_header, claims, FakeTun::syscalls()),
        udp(end.at, random),
        sockets(io::UdpSockets::open(options, udp.syscalls())),
        outer(**sockets) {}

  End end;
  FakeTun tun;
  tun::TunQueue inner;
  FakeUdp udp;
  io::Result<std::unique_ptr<io::UdpSockets>> sockets;
  io::UdpSide outer;
};

// A peer of the near end, and what the test knows of the stream to it.
struct Spoke {
  struct Expected {
    Bytes packet;
    size_t flow;
  };
  struct Keypair {
    uint32_t index;
    size_t first;  // which packet has counter 0
  };

  std::unique_ptr<Host> host;
  test::TestPeer* at_near = nullptr;
  test::TestPeer* at_spoke = nullptr;
  std::vector<Expected> stream;  // every packet for this peer, as hosts see it
  std::vector<bool> sent, admitted;
  std::vector<Keypair> keypairs;
  size_t staged = 0, staged_bytes = 0, staged_superpackets = 0;  // of the stream's end, not yet sealed
  std::vector<Datagram> on_the_way;
  size_t forged = 0, replayed = 0;
};

// The datagrams that a network loses, repeats, spoils, delays and marks, in percent.
struct Network {
  unsigned lost = 0, repeated = 0, spoilt = 0, delayed = 0, marked = 0;
};

class Case {
 public:
  Case(uint32_t number, Tally& tally) : random_(number), tally_(tally) {
    std::seed_seq seed{number};
    random_.seed(seed);
    set_up();
  }

  // Returns what was wrong, or nothing.
  std::string run(size_t most_steps) {
    const size_t steps = std::min(most_steps, 1 + below(random_, kMaxSteps));
    for (size_t i = 0; i < steps && wrong_.empty(); ++i) step();
    for (Spoke& spoke : spokes_) begin_to_send(spoke);
    for (Spoke& spoke : spokes_) deliver(spoke, spoke.on_the_way.size());
    if (wrong_.empty()) check_counts();
    return wrong_;
  }

 private:
  void set_up();
  void step();
  void feed();
  void send();
  void collect();
  void enter_network(Spoke& spoke, Datagram datagram);
  void deliver(Spoke& spoke, size_t datagrams);
  void compare(Spoke& spoke, const std::vector<Spoke::Expected>& expected);
  void rekey(Spoke& spoke);
  void begin_to_send(Spoke& spoke);
  void disturb_near();
  void check_counts();
  Spoke& any_spoke() { return spokes_[below(random_, spokes_.size())]; }
  void fail(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

  Random random_;
  Tally& tally_;
  std::string wrong_;
  size_t mtu_ = 0;
  Network network_;
  io::InnerOffloads near_gives_;
  std::unique_ptr<Host> near_;
  std::vector<Spoke> spokes_;
  std::vector<std::pair<size_t, std::unique_ptr<Flow>>> flows_;  // with their spokes
};

void Case::set_up() {
  const auto often = [&](unsigned most) {
    return chance(random_, 50) ? 0 : static_cast<unsigned>(below(random_, most));
  };
  mtu_ = chance(random_, 50) ? 1420 : 576 + below(random_, 8500);
  network_ = {often(30), often(20), often(10), often(40), often(30)};
  const bool near_header = chance(random_, 90);
  if (near_header) near_gives_ = draw_offloads(random_);
  io::UdpOptions options;
  options.port = 1001;
  options.gso = chance(random_, 80);
  const bool v6 = chance(random_, 40);
  const std::string net = v6 ? "[2001:db8::" : "192.0.2.", end = v6 ? "]:" : ":";
  near_ = std::make_unique<Host>(net + "1" + end + "1001", random_, near_gives_, near_header, options);
  near_->end.published.mtu = static_cast<uint32_t>(mtu_);
  near_->udp.full_percent = chance(random_, 20) ? 3 : 0;
  if (chance(random_, 30)) near_->udp.max_segments = 64;
  spokes_.resize(1 + below(random_, 3));
  for (size_t i = 0; i < spokes_.size(); ++i) {
    Spoke& spoke = spokes_[i];
    const bool header = chance(random_, 90);
    options.port = static_cast<uint16_t>(2000 + i);
    options.gro = chance(random_, 80);
    const io::InnerOffloads accepts = header ? draw_offloads(random_) : io::InnerOffloads{};
    // A kernel that refuses what it agreed to.
    const io::InnerOffloads claims = chance(random_, 20) ? io::InnerOffloads{true, true, true, true, true} : accepts;
    spoke.host = std::make_unique<Host>(net + std::to_string(i + 2) + end + std::to_string(options.port), random_,
                                        claims, header, options);
    spoke.host->tun.accepts = accepts;
    spoke.host->udp.peer = near_->end.at;
    io::Endpoint at = spoke.host->end.at;
    if (chance(random_, 30)) at.source = near_->end.at.remote;
    spoke.at_near = &near_->end.add_peer(at);
    spoke.at_spoke = &spoke.host->end.add_peer(near_->end.at);
    const auto host = static_cast<uint8_t>(10 * (i + 1));
    near_->end.allow(*spoke.at_near, host);
    spoke.host->end.allow(*spoke.at_spoke, host);
    if (chance(random_, 70)) rekey(spoke);
    for (size_t flows = 1 + below(random_, 6); flows > 0; --flows)
      flows_.emplace_back(i, std::make_unique<Flow>(host, mtu_, random_));
  }
}

void Case::step() {
  const size_t what = below(random_, 100);
  Spoke& spoke = any_spoke();
  if (what < 55) {
    feed();
  } else if (what < 80) {
    deliver(spoke, 1 + below(random_, spoke.on_the_way.size() + 1));
  } else if (what < 85) {
    rekey(spoke);
    if (chance(random_, 50)) begin_to_send(spoke);
  } else if (what < 88) {
    mtu_ = 576 + below(random_, 8500);
    near_->end.published.mtu = static_cast<uint32_t>(mtu_);
    for (const auto& flow : flows_) flow.second->set_mtu(mtu_);
  } else if (what < 91) {
    near_gives_ = near_->tun.has_header() ? draw_offloads(random_) : io::InnerOffloads{};
  } else if (what < 94) {
    const io::InnerOffloads fewer = draw_offloads(random_);
    io::InnerOffloads& accepts = spoke.host->tun.accepts;
    accepts = {accepts.tcp4 && fewer.tcp4, accepts.tcp6 && fewer.tcp6, accepts.udp4 && fewer.udp4,
               accepts.udp6 && fewer.udp6, accepts.checksum && fewer.checksum};
  } else {
    disturb_near();
  }
}

// The near kernel, its device or the path change their mind.
void Case::disturb_near() {
  FakeUdp& udp = near_->udp;
  switch (below(random_, 5)) {
    case 0:
      udp.segments = false;
      break;
    case 1:
      udp.max_segments = 64;
      break;
    case 2:
      udp.path_bytes = chance(random_, 50) ? 65535 : 300 + below(random_, 2000);
      udp.path_error = chance(random_, 50) ? EMSGSIZE : EINVAL;
      break;
    case 3:
      udp.source_is_gone = !udp.source_is_gone;
      break;
    default:
      any_spoke().at_near->path.gso_refused = false;
  }
}

void Case::feed() {
  const size_t first = below(random_, flows_.size());
  std::vector<Given> given;
  for (size_t count = 1 + below(random_, chance(random_, 30) ? 60 : 8); count > 0; --count) {
    const size_t flow = chance(random_, 70) ? first : below(random_, flows_.size());
    Spoke& spoke = spokes_[flows_[flow].first];
    given.clear();
    flows_[flow].second->next(near_gives_, given);
    for (Given& one : given) {
      // What is staged has bounds; a peer whose turn has come gets a keypair, and is flushed or just goes on.
      if (spoke.keypairs.empty() &&
          (spoke.staged_superpackets >= 60 || spoke.staged_bytes + one.packet.bytes.size() > 500'000)) {
        send();
        rekey(spoke);
      }
      if (spoke.keypairs.empty()) {
        spoke.staged += one.expected.size();
        spoke.staged_bytes += one.packet.bytes.size();
        ++spoke.staged_superpackets;
        tally_.staged += one.expected.size();
      }
      tally_.superpackets += one.packet.offload.gso != io::GsoType::none ? 1 : 0;
      near_->tun.to_read.push_back(std::move(one.packet));
      for (Bytes& packet : one.expected) spoke.stream.push_back({std::move(packet), flow});
    }
    if (!given.empty() && !spoke.keypairs.empty()) spoke.staged = 0;  // goes first
  }
  send();
}

// Everything that was fed, in batches of any size.
void Case::send() {
  while (!near_->tun.to_read.empty()) {
    near_->tun.readable = 1 + below(random_, chance(random_, 50) ? 4 : 80);
    for (size_t read = 1; read > 0;) (void)near_->end.outbound.run(near_->inner, &near_->outer, test::kStart, read);
  }
  collect();
}

// Which packet each datagram carries is told by its receiver index and counter.
void Case::collect() {
  for (Datagram& datagram : near_->udp.sent) {
    const auto at = std::find_if(spokes_.begin(), spokes_.end(),
                                 [&](const Spoke& one) { return one.host->end.at.same_remote(datagram.to); });
    if (at == spokes_.end() || datagram.bytes.size() < 32) return fail("a datagram to nobody, or a short one");
    protocol::TransportHeader header;
    std::memcpy(&header, datagram.bytes.data(), sizeof header);
    const auto keypair = std::find_if(at->keypairs.begin(), at->keypairs.end(),
                                      [&](const Spoke::Keypair& one) { return one.index == header.receiver_index; });
    if (keypair == at->keypairs.end()) return fail("a datagram with an unknown receiver index");
    const size_t number = keypair->first + header.counter;
    if (number >= at->stream.size()) return fail("a counter beyond the packets there are");
    at->sent.resize(at->stream.size());
    if (at->sent[number]) return fail("a counter was used twice");
    at->sent[number] = true;
    enter_network(*at, std::move(datagram));
  }
  near_->udp.sent.clear();
}

void Case::enter_network(Spoke& spoke, Datagram datagram) {
  if (chance(random_, network_.lost)) {
    ++tally_.lost;
    return;
  }
  if ((datagram.traffic_class & 3) != 0 && chance(random_, network_.marked)) datagram.traffic_class |= 3;
  std::vector<Datagram>& way = spoke.on_the_way;
  for (size_t copies = chance(random_, network_.repeated) ? 2 : 1; copies > 0; --copies) {
    Datagram copy = datagram;
    if (chance(random_, network_.spoilt)) {
      copy.bytes[8 + below(random_, copy.bytes.size() - 8)] ^= static_cast<uint8_t>(1 << below(random_, 8));
      copy.spoilt = true;
    }
    const size_t back = chance(random_, network_.delayed) ? below(random_, std::min<size_t>(way.size(), 50) + 1) : 0;
    way.insert(way.end() - static_cast<long>(back), std::move(copy));
  }
}

// RFC 6040 for what the network may do: a mark reaches a packet that can carry it.
Bytes marked_as(Bytes packet, uint8_t outer_class) {
  const bool v6 = packet[0] >> 4 == 6;
  const unsigned ecn = (v6 ? packet[1] >> 4 : packet[1]) & 3;
  if ((outer_class & 3) != 3 || ecn == 0) return packet;
  packet[1] |= v6 ? 0x30 : 0x03;
  test::finish_ip_header(packet);
  return packet;
}

// The first datagrams on the way arrive: every packet that is whole and new leaves the far TUN device, in the order
// that the network left to its flow.
void Case::deliver(Spoke& spoke, size_t datagrams) {
  std::vector<Spoke::Expected> expected;
  datagrams = std::min(datagrams, spoke.on_the_way.size());
  spoke.admitted.resize(spoke.stream.size());
  for (size_t i = 0; i < datagrams; ++i) {
    Datagram& datagram = spoke.on_the_way[i];
    protocol::TransportHeader header;
    std::memcpy(&header, datagram.bytes.data(), sizeof header);
    if (datagram.spoilt) {
      ++spoke.forged;
    } else {
      size_t number = header.counter;
      for (const Spoke::Keypair& one : spoke.keypairs)
        if (one.index == header.receiver_index) number += one.first;
      if (spoke.admitted[number]) {
        ++spoke.replayed;
      } else {
        spoke.admitted[number] = true;
        const Spoke::Expected& original = spoke.stream[number];
        expected.push_back({marked_as(original.packet, datagram.traffic_class), original.flow});
        tally_.marked += expected.back().packet != original.packet ? 1 : 0;
      }
    }
    spoke.host->udp.arriving.push_back(std::move(datagram));
  }
  spoke.on_the_way.erase(spoke.on_the_way.begin(), spoke.on_the_way.begin() + static_cast<long>(datagrams));
  Host& far = *spoke.host;
  while (!far.udp.arriving.empty()) far.end.inbound.run(far.inner, far.outer, test::kStart);
  compare(spoke, expected);
}

// What packets are compared by: the checksum of an IP header depends on the id, and is checked apart.
std::string content_of(const Bytes& packet, bool zero_id = false) {
  std::string content(packet.begin(), packet.end());
  if (packet[0] >> 4 == 4) content[10] = content[11] = 0;
  if (zero_id) content[4] = content[5] = 0;
  return content;
}

std::string hex(const Bytes& packet) {
  std::string text;
  char digits[4];
  for (size_t i = 0; i < std::min<size_t>(packet.size(), 80); ++i) {
    (void)std::snprintf(digits, sizeof digits, "%02x%s", packet[i], i % 4 == 3 ? " " : "");
    text += digits;
  }
  return std::to_string(packet.size()) + " bytes: " + text;
}

void Case::compare(Spoke& spoke, const std::vector<Spoke::Expected>& expected) {
  std::unordered_map<std::string, std::vector<size_t>> numbers;  // of each content, the last first
  for (size_t i = expected.size(); i-- > 0;) numbers[content_of(expected[i].packet)].push_back(i);
  std::vector<size_t> last_of_flow(flows_.size(), 0);
  size_t arrived = 0;
  for (const InnerPacket& written : spoke.host->tun.written) {
    std::string wrong;
    const std::vector<Bytes> packets = test::cut_as_written(written, wrong);
    if (!wrong.empty()) return fail(wrong + ": " + hex(written.bytes));
    tally_.joined += packets.size() > 1 ? 1 : 0;
    bool counted_from_zero = false, has_id = false;
    for (const Bytes& packet : packets) {
      if (packet[0] >> 4 == 4 &&
          packet::test::naive_checksum(std::span(packet).first(packet::test::ip_header_bytes(packet))) != 0xffff)
        return fail("the checksum of an IP header is wrong: " + hex(packet));
      auto found = numbers.find(content_of(packet));
      // Ids that stay at zero under "don't fragment" may come back counted (tun/coalesce.h).
      if ((found == numbers.end() || found->second.empty()) && packet[0] >> 4 == 4 && (packet[6] & 0x40) != 0)
        found = numbers.find(content_of(packet, true)), counted_from_zero = true;
      if (found == numbers.end() || found->second.empty())
        return fail("left the far side, and nobody sent it, or not as often: " + hex(packet));
      const size_t number = found->second.back();
      found->second.pop_back();
      const size_t flow = expected[number].flow;
      if (last_of_flow[flow] > number) return fail("overtaken in " + flows_[flow].second->text() + ": " + hex(packet));
      last_of_flow[flow] = number;
      has_id |= packet::test::get16(expected[number].packet, 4) != 0;
      ++arrived;
    }
    if (counted_from_zero && has_id) return fail("ids of zero were joined with others: " + hex(written.bytes));
  }
  spoke.host->tun.written.clear();
  tally_.packets += arrived;
  if (arrived == expected.size()) return;
  for (const auto& [content, left] : numbers)
    if (!left.empty())
      return fail(std::to_string(expected.size() - arrived) + " of " + std::to_string(expected.size()) +
                  " packets did not leave the far side, one of " + flows_[expected[left.back()].flow].second->text() +
                  ": " + hex(expected[left.back()].packet));
}

// A new keypair, whoever asked for it. What is staged stays so until it is flushed or more is to be sent.
void Case::rekey(Spoke& spoke) {
  ++tally_.rekeys;
  if (chance(random_, 50))
    test::begin_session(near_->end, *spoke.at_near, spoke.host->end, *spoke.at_spoke);
  else
    test::begin_session(spoke.host->end, *spoke.at_spoke, near_->end, *spoke.at_near);
  spoke.keypairs.push_back(
      {spoke.at_near->keypairs.to_send_with()->remote_index(), spoke.stream.size() - spoke.staged});
}

// Flushes, as the control thread does when a handshake is complete.
void Case::begin_to_send(Spoke& spoke) {
  if (spoke.keypairs.empty()) rekey(spoke);
  near_->end.outbound.flush_staged(spoke.at_near->path, near_->inner, &near_->outer, test::kStart);
  spoke.staged = 0;
  collect();
}

// Everything that did not arrive is counted where it was lost, and nothing else is.
void Case::check_counts() {
  size_t unsent = 0, sent = 0;
  for (const Spoke& spoke : spokes_) {
    const auto of_spoke = static_cast<size_t>(std::count(spoke.sent.begin(), spoke.sent.end(), true));
    sent += of_spoke;
    unsent += spoke.stream.size() - of_spoke;
    test::Drops expected;
    if (spoke.forged > 0) expected[DropReason::forged] = spoke.forged;
    if (spoke.replayed > 0) expected[DropReason::replayed] = spoke.replayed;
    if (test::drops_of(spoke.host->end) != expected) return fail("drops of the far side are counted wrong");
    if (spoke.host->tun.refusals == 0 && spoke.host->inner.counters().segmented_writes.get() > 0)
      return fail("packets were joined that the device does not take joined");
    tally_.forged += spoke.forged;
    tally_.replayed += spoke.replayed;
    tally_.tun_refusals += spoke.host->tun.refusals;
    tally_.trains += spoke.host->udp.joined;
  }
  test::Drops expected;
  if (unsent > 0) expected[DropReason::send_failed] = unsent;
  if (test::drops_of(near_->end) != expected) return fail("drops of the near side are counted wrong");
  const uint64_t counted = near_->outer.counters().datagrams_sent.get();
  const uint64_t errors = near_->outer.counters().send_errors.get();
  if (counted != sent || errors != unsent)
    return fail("the outer side counts " + std::to_string(counted) + " datagrams and " + std::to_string(errors) +
                " errors for " + std::to_string(sent) + " and " + std::to_string(unsent));
  if (unsent > 0 && near_->udp.full_percent == 0) return fail("datagrams were dropped although there was room");
  tally_.send_failures += unsent;
  tally_.gso_refusals += near_->udp.refused;
  tally_.source_refusals += near_->udp.sources_refused;
}

uint32_t number_from_environment(const char* name, uint32_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? static_cast<uint32_t>(std::strtoul(text, nullptr, 10)) : otherwise;
}

TEST(StreamProperty, WhatEntersTheNearSideLeavesTheFarOne) {
  const uint32_t only = number_from_environment("CULVERT_STREAM_CASE", 0);
  const uint32_t last = only != 0 ? only : number_from_environment("CULVERT_STREAM_CASES", kCases);
  Tally tally;
  for (uint32_t number = only != 0 ? only : 1; number <= last; ++number) {
    std::string wrong = Case(number, tally).run(kMaxSteps);
    if (wrong.empty() && !testing::Test::HasFailure()) continue;
    size_t steps = 0;
    for (Tally unused; steps < kMaxSteps; ++steps) {
      const std::string shorter = Case(number, unused).run(steps);
      if (shorter.empty()) continue;
      wrong = shorter;
      break;
    }
    FAIL() << "CULVERT_STREAM_CASE=" << number << ", after " << steps << " steps: " << wrong;
  }
  if (only != 0) return;
  for (const auto& [what, count] :
       std::initializer_list<std::pair<const char*, size_t>>{{"packets", tally.packets},
                                                             {"superpackets in", tally.superpackets},
                                                             {"superpackets out", tally.joined},
                                                             {"trains joined by UDP_GRO", tally.trains},
                                                             {"lost", tally.lost},
                                                             {"forged", tally.forged},
                                                             {"replayed", tally.replayed},
                                                             {"staged", tally.staged},
                                                             {"rekeys", tally.rekeys},
                                                             {"marked", tally.marked},
                                                             {"refusals of UDP_SEGMENT", tally.gso_refusals},
                                                             {"refusals of a source", tally.source_refusals},
                                                             {"refusals of the TUN device", tally.tun_refusals},
                                                             {"sends that failed", tally.send_failures}}) {
    RecordProperty(what, std::to_string(count));
    EXPECT_GT(count, last / 50) << what << ": too few to prove anything";
  }
}

// Superpackets cut at every size, odd payloads included, come back as the packets they stand for.
TEST(StreamProperty, EveryGsoSizeIsCutAndJoinedRight) {
  Random random(1);
  for (const bool v6 : {false, true}) {
    for (const bool tcp : {false, true}) {
      test::Tunnel tunnel;
      test::PacketSpec spec;
      spec.v6 = v6;
      spec.tcp = tcp;
      for (uint16_t gso_size = 1; gso_size <= 1400; ++gso_size) {
        spec.payload_bytes = gso_size + 1U + below(random, 4U * gso_size);
        InnerPacket packet = test::superpacket(spec, gso_size);
        const std::vector<Bytes> expected = test::segments_of(packet);
        const size_t ip = v6 ? 40 : 20;
        packet::test::put16(packet.bytes, ip + (tcp ? 16 : 6), test::pseudo_header_sum(packet.bytes, ip, tcp));
        tunnel.left.send(std::move(packet));
        test::carry(tunnel.left, tunnel.right);
        tunnel.right.receive();
        std::vector<Bytes> arrived;
        std::string wrong;
        for (const InnerPacket& written : tunnel.right.inner.written)
          for (Bytes& one : test::cut_as_written(written, wrong)) arrived.push_back(std::move(one));
        tunnel.right.inner.written.clear();
        ASSERT_EQ(wrong, "") << gso_size;
        ASSERT_TRUE(arrived == expected) << (tcp ? "TCP" : "UDP") << (v6 ? " v6, " : " v4, ") << spec.payload_bytes
                                         << " bytes cut at " << gso_size;
        spec.sequence += static_cast<uint32_t>(spec.payload_bytes);
        spec.id = static_cast<uint16_t>(spec.id + expected.size());
      }
    }
  }
}

}  // namespace
}  // namespace culvert::pipeline
