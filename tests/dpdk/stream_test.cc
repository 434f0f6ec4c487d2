// What arrives at the near inner port leaves the far one: random streams over four ports in memory, through both sides
// and both pipelines, whatever the network between them does. tests/pipeline/stream_property_test.cc does this over
// sockets.
//
// Each case follows from its number alone; CULVERT_STREAM_CASE=N runs that one only.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "dpdk/inner_port.h"
#include "dpdk/outer_port.h"
#include "tests/dpdk/ring_ports.h"
#include "tests/pipeline/ends.h"
#include "tests/pipeline/streams.h"

namespace culvert::dpdk {
namespace {

using pipeline::test::below;
using pipeline::test::chance;
using pipeline::test::End;
using pipeline::test::Flow;
using pipeline::test::Given;
using pipeline::test::kStart;
using pipeline::test::Random;
using test::Bytes;
using test::RingPort;

#if defined(__SANITIZE_ADDRESS__)
constexpr uint32_t kCases = 15;
#else
constexpr uint32_t kCases = 200;
#endif
constexpr uint32_t kMtu = 9000;

PortOptions jumbo() {
  PortOptions options;
  options.mtu = kMtu;
  return options;
}

// An inner port whose device cuts TCP: rings do not, and what they get is cut by the test.
class CuttingPort final : public io::InnerSide {
 public:
  CuttingPort(InnerPort& port, bool cuts) : port_(port), cuts_(cuts) {}
  io::ReadOutcome read(io::PlainBatch& batch) override { return port_.read(batch); }
  void release(io::PlainBatch& batch) override { port_.release(batch); }
  size_t write(std::span<const io::GatheredPacket> packets) override { return port_.write(packets); }
  io::InnerOffloads offloads() const override {
    io::InnerOffloads offloads = port_.offloads();
    offloads.tcp4 = offloads.tcp6 = offloads.checksum = offloads.joining_pays = cuts_;
    return offloads;
  }
  const io::InnerCounters& counters() const override { return port_.counters(); }

 private:
  InnerPort& port_;
  bool cuts_;
};

// The machines: four ports that all cases use.
struct Ports {
  Pool pool = test::test_pool(4095, kMtu);
  RingPort near_inner{pool.get(), jumbo(), 2048}, near_outer{pool.get(), jumbo(), 4096};
  RingPort far_outer{pool.get(), jumbo(), 4096}, far_inner{pool.get(), jumbo(), 4096};
};

struct Tally {
  size_t packets = 0, superpackets = 0, joined = 0, lost = 0, forged = 0, replayed = 0, taken_over = 0, copied = 0;
};

class Case {
 public:
  Case(uint32_t number, Ports& ports, Tally& tally) : random_(number), ports_(ports), tally_(tally) {
    std::seed_seq seed{number};
    random_.seed(seed);
    near_.published.mtu = far_.published.mtu = 1420;
    for (const uint8_t host : {10, 20}) {
      near_.allow(to_far_, host);
      far_.allow(to_near_, host);
    }
    begin_session(near_, to_far_, far_, to_near_);
    for (size_t flows = 1 + below(random_, 6); flows > 0; --flows)
      flows_.push_back(std::make_unique<Flow>(chance(random_, 50) ? 10 : 20, 576 + below(random_, 8000), random_));
  }
  ~Case() {
    for (rte_mbuf* const mbuf : way_) rte_pktmbuf_free(mbuf);
  }

  std::string run() {
    for (size_t steps = 1 + below(random_, 12); steps > 0 && wrong_.empty(); --steps) {
      feed();
      collect();
      if (chance(random_, 70)) deliver();
    }
    if (wrong_.empty()) deliver();
    tally_.taken_over += near_outer_.port_counters().taken_over.get();
    tally_.copied += near_inner_.port_counters().copied.get();
    return wrong_;
  }

 private:
  struct Expected {
    Bytes packet;
    size_t flow;
    bool admitted = false;
  };

  static NextHops hops_to(const RingPort& ours, const MacAddress& next, uint16_t vlan, bool is_far) {
    NextHops hops = test::host_at(ours.port->mac(), is_far ? "192.0.2.2" : "192.0.2.1",
                                  is_far ? "[2001:db8::2]" : "[2001:db8::1]", vlan);
    for (NextHops::Neighbour& neighbour : hops.neighbours) neighbour.mac = next;
    return hops;
  }
  static std::string address_of(bool v6, bool is_far) {
    return v6 ? (is_far ? "[2001:db8::2]:2000" : "[2001:db8::1]:1000") : (is_far ? "192.0.2.2:2000" : "192.0.2.1:1000");
  }

  void fail(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }
  void feed();
  void arrive(const Given& given);
  void collect();
  void deliver();
  void compare(const std::vector<size_t>& expected);
  std::vector<Bytes> cut(rte_mbuf* mbuf);

  Random random_;
  Ports& ports_;
  Tally& tally_;
  std::string wrong_;
  const bool v6_ = chance(random_, 40), cuts_ = chance(random_, 60);
  const uint16_t vlan_ = chance(random_, 30) ? uint16_t{42} : uint16_t{0};
  const uint16_t inner_vlan_ = chance(random_, 30) ? uint16_t{43} : uint16_t{0};
  const bool joined_arrive_ = chance(random_, 50);
  const unsigned disturbed_ = chance(random_, 50) ? static_cast<unsigned>(below(random_, 20)) : 0;
  PublishedNextHops near_hops_{hops_to(ports_.near_outer, ports_.far_outer.port->mac(), vlan_, false)};
  PublishedNextHops far_hops_{hops_to(ports_.far_outer, ports_.near_outer.port->mac(), vlan_, true)};
  PublishedNextHops near_inside_{hops_to(ports_.near_inner, test::kNextMac, inner_vlan_, false)};
  PublishedNextHops far_inside_{hops_to(ports_.far_inner, test::kNextMac, inner_vlan_, true)};
  OuterPort near_outer_{*ports_.near_outer.port, 0, near_hops_, {{1000}, chance(random_, 50)}};
  OuterPort far_outer_{*ports_.far_outer.port, 0, far_hops_, {{2000}, false}};
  InnerPort near_inner_{*ports_.near_inner.port, 0, near_inside_}, far_inner_{*ports_.far_inner.port, 0, far_inside_};
  CuttingPort far_written_{far_inner_, cuts_};
  End near_{address_of(v6_, false)}, far_{address_of(v6_, true)};
  pipeline::test::TestPeer& to_far_ = near_.add_peer(far_.at);
  pipeline::test::TestPeer& to_near_ = far_.add_peer(near_.at);
  std::vector<std::unique_ptr<Flow>> flows_;
  std::vector<Expected> stream_;  // each packet has its counter for a place
  std::vector<rte_mbuf*> way_;
};

void Case::feed() {
  std::vector<Given> given;
  const io::InnerOffloads gives{joined_arrive_, joined_arrive_, false, false, joined_arrive_};
  for (size_t count = 1 + below(random_, 40); count > 0; --count) {
    const size_t flow = below(random_, flows_.size());
    given.clear();
    flows_[flow]->next(gives, given);
    for (Given& one : given) {
      arrive(one);
      for (Bytes& packet : one.expected) stream_.push_back({std::move(packet), flow});
    }
  }
  for (size_t read = 1; read > 0;) (void)near_.outbound.run(near_inner_, &near_outer_, kStart, read);
}

void Case::arrive(const Given& given) {
  const Link theirs{test::kNextMac, inner_vlan_};
  Bytes frame(theirs.header_bytes());
  const Bytes& packet = given.packet.bytes;
  frame.insert(frame.end(), packet.begin(), packet.end());
  (void)write_link_header(theirs, ports_.near_inner.port->mac(), packet[0] >> 4 == 6,
                          frame.data() + theirs.header_bytes());
  if (frame.size() < 60) frame.resize(60, 0xee);
  std::vector<size_t> cuts;
  const size_t most = chance(random_, 15) ? 60 + below(random_, 8000) : 9000;
  for (size_t at = most; at < frame.size(); at += most) cuts.push_back(at);
  rte_mbuf* const mbuf = ports_.near_inner.arrive(frame, cuts);
  if (given.packet.offload.needs_checksum) mbuf->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  if (given.packet.offload.gso == io::GsoType::none) return;
  mbuf->ol_flags |= RTE_MBUF_F_RX_LRO;
  mbuf->tso_segsz = given.packet.offload.gso_size;
  ++tally_.superpackets;
}

// What left the near port enters the network.
void Case::collect() {
  const auto happens = [&] { return chance(random_, disturbed_); };
  const auto put = [&](rte_mbuf* mbuf) {
    const size_t back = happens() ? below(random_, std::min<size_t>(way_.size(), 20) + 1) : 0;
    way_.insert(way_.end() - static_cast<long>(back), mbuf);
  };
  while (rte_mbuf* const mbuf = ports_.near_outer.left()) {
    rte_mbuf_sanity_check(mbuf, 1);
    if (happens()) {
      ++tally_.lost;
      rte_pktmbuf_free(mbuf);
      continue;
    }
    if (happens()) put(rte_pktmbuf_copy(mbuf, ports_.pool.get(), 0, UINT32_MAX));
    put(mbuf);
  }
}

void Case::deliver() {
  std::vector<size_t> expected;
  for (rte_mbuf* const mbuf : way_) {
    const Bytes frame = test::bytes_of(mbuf);
    DatagramFrame read;
    if (read_datagram(frame, {ports_.far_outer.port->mac(), vlan_}, false, read) != FrameVerdict::ours)
      return fail("a frame that nobody can read");
    const size_t payload = read.udp_at + 8;
    uint64_t counter = 0;
    std::memcpy(&counter, &frame[payload + 8], sizeof counter);
    if (counter >= stream_.size()) return fail("a counter beyond the packets there are");
    if (chance(random_, disturbed_)) {
      ++tally_.forged;
      rte_pktmbuf_mtod(mbuf, uint8_t*)[payload + 16 + below(random_, read.payload_bytes - 16)] ^= 4;
    } else if (stream_[counter].admitted) {
      ++tally_.replayed;
    } else {
      stream_[counter].admitted = true;
      expected.push_back(counter);
    }
    EXPECT_EQ(rte_ring_enqueue(ports_.far_outer.arriving.get(), mbuf), 0);
  }
  way_.clear();
  while (far_.inbound.run(far_written_, far_outer_, kStart) > 0) {
  }
  compare(expected);
}

// The packets that a frame of the far inner port stands for.
std::vector<Bytes> Case::cut(rte_mbuf* mbuf) {
  rte_mbuf_sanity_check(mbuf, 1);
  Bytes bytes = test::bytes_of(mbuf);
  LinkFrame read;
  if (read_link_header(bytes, {test::kNextMac, inner_vlan_}, read) != FrameVerdict::ours) {
    fail("a frame to nobody left the far side");
    return {};
  }
  bytes.erase(bytes.begin(), bytes.begin() + read.packet_at);
  if ((mbuf->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return {bytes};
  ++tally_.joined;
  if (mbuf->nb_segs == 1) fail("a superpacket of one piece");
  pipeline::test::InnerPacket packet{bytes, {}};
  packet.offload = {io::GsoType::tcp,
                    true,
                    static_cast<uint16_t>(mbuf->l3_len + mbuf->l4_len),
                    static_cast<uint16_t>(mbuf->tso_segsz),
                    static_cast<uint16_t>(mbuf->l3_len),
                    16};
  if (bytes[0] >> 4 == 4) packet::test::finish_ip_checksum(packet.bytes);
  packet::test::put16(packet.bytes, mbuf->l3_len + 16U,
                      pipeline::test::pseudo_header_sum(packet.bytes, mbuf->l3_len, true));
  std::string wrong;
  std::vector<Bytes> packets = pipeline::test::cut_as_written(packet, wrong);
  if (!wrong.empty()) fail(wrong);
  return packets;
}

// What packets are compared by: the checksum of an IP header depends on the id, and ids of zero may come back counted.
std::string content_of(const Bytes& packet) {
  std::string content(packet.begin(), packet.end());
  if (packet[0] >> 4 == 4) content[4] = content[5] = content[10] = content[11] = 0;
  return content;
}

std::string hex(const Bytes& packet) {
  std::string text = std::to_string(packet.size()) + " bytes:";
  std::array<char, 4> digits;
  for (size_t i = 0; i < std::min<size_t>(packet.size(), 80); ++i) {
    (void)std::snprintf(digits.data(), digits.size(), i % 4 == 0 ? " %02x" : "%02x", packet[i]);
    text += digits.data();
  }
  return text;
}

void Case::compare(const std::vector<size_t>& expected) {
  std::unordered_map<std::string, std::vector<size_t>> places;  // of each content, the last first
  for (size_t i = expected.size(); i-- > 0;) places[content_of(stream_[expected[i]].packet)].push_back(i);
  std::vector<size_t> last_of_flow(flows_.size(), 0);
  while (rte_mbuf* const mbuf = ports_.far_inner.left()) {
    for (const Bytes& packet : cut(mbuf)) {
      auto found = places.find(content_of(packet));
      if (found == places.end() || found->second.empty()) {
        fail("left the far side, and nobody sent it, or not as often: " + hex(packet));
        break;
      }
      const size_t place = found->second.back();
      found->second.pop_back();
      size_t& last = last_of_flow[stream_[expected[place]].flow];
      if (last > place) fail("overtaken in " + flows_[stream_[expected[place]].flow]->text());
      last = place;
      ++tally_.packets;
    }
    rte_pktmbuf_free(mbuf);
  }
  for (const auto& [content, left] : places)
    if (!left.empty()) fail("did not leave the far side: " + hex(stream_[expected[left.back()]].packet));
}

TEST(DpdkStream, WhatArrivesAtTheNearPortLeavesTheFarOne) {
  Ports ports;
  const unsigned all = rte_mempool_avail_count(ports.pool.get());
  Tally tally;
  const char* const only = std::getenv("CULVERT_STREAM_CASE");
  const auto first = only != nullptr ? static_cast<uint32_t>(std::strtoul(only, nullptr, 10)) : 1U;
  for (uint32_t number = first; number <= (only != nullptr ? first : kCases); ++number) {
    const std::string wrong = Case(number, ports, tally).run();
    ASSERT_EQ(wrong, "") << "CULVERT_STREAM_CASE=" << number;
    ASSERT_EQ(rte_mempool_avail_count(ports.pool.get()), all) << "an mbuf did not come home in case " << number;
  }
  if (only != nullptr) return;
  for (const auto& [what, count] :
       std::initializer_list<std::pair<const char*, size_t>>{{"packets", tally.packets},
                                                             {"superpackets in", tally.superpackets},
                                                             {"superpackets out", tally.joined},
                                                             {"lost", tally.lost},
                                                             {"forged", tally.forged},
                                                             {"replayed", tally.replayed},
                                                             {"taken over", tally.taken_over},
                                                             {"copied", tally.copied}}) {
    RecordProperty(what, std::to_string(count));
    EXPECT_GT(count, kCases / 10) << what << ": too few to prove anything";
  }
}

}  // namespace
}  // namespace culvert::dpdk
