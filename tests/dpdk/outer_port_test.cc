#include "dpdk/outer_port.h"

#include <numeric>

#include "tests/dpdk/ring_ports.h"

namespace culvert::dpdk {
namespace {

using test::address;
using test::Bytes;
using test::endpoint;
using test::RingPort;

constexpr uint16_t kPort = 51820;

// A port of ours, the outer side on it, and a remote end that writes frames.
struct World {
  explicit World(uint32_t mbufs = 2047, uint16_t vlan = 0, unsigned entries = 1024)
      : pool(test::test_pool(mbufs)),
        ring(pool.get(), {}, entries),
        hops(test::host_at(ring.port->mac(), "192.0.2.1", "[2001:db8::1]", vlan)),
        outer(*ring.port, 0, hops, {{kPort, 51821}, false}),
        vlan_(vlan),
        all_(rte_mempool_avail_count(pool.get())) {}
  ~World() {
    (void)test::take_frames(ring);
    EXPECT_EQ(rte_mempool_avail_count(pool.get()), all_) << "an mbuf did not come home";
  }

  // A frame from `from` to `to` with `payload`.
  Bytes frame(const std::string& from, const std::string& to, const Bytes& payload, uint8_t traffic_class = 0) const {
    DatagramHeaders headers;
    headers.prepare({test::kNextMac, vlan_}, ring.port->mac(), endpoint(to), endpoint(from).remote, endpoint(from).port,
                    traffic_class);
    Bytes bytes(headers.bytes());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    (void)headers.write(bytes.data() + headers.bytes(), static_cast<uint32_t>(payload.size()), UdpChecksum::software);
    return bytes;
  }
  void arrive(const std::string& from, const std::string& to, const Bytes& payload, uint8_t traffic_class = 0) {
    ring.arrive(frame(from, to, payload, traffic_class));
  }

  io::Received& receive() {
    outer.receive(received);
    return received;
  }

  // A batch of datagrams of one length to one destination.
  io::Sending& to_send(const std::string& to, size_t count, uint32_t length, const std::string& source = "") {
    sending.clear();
    sending.count = static_cast<uint32_t>(count);
    sending.destination_count = 1;
    io::Envelope& envelope = sending.destinations[0].envelope;
    envelope = {};
    envelope.endpoint = endpoint(to);
    if (!source.empty()) envelope.endpoint.source = address(source);
    envelope.local_port = kPort;
    envelope.traffic_class = 0x88;
    for (io::Outgoing& out : std::span(sending.datagrams).first(count)) out = {.length = length};
    return sending;
  }

  Pool pool;
  RingPort ring;
  PublishedNextHops hops;
  OuterPort outer;
  io::Received received;
  io::Sending sending;

 private:
  uint16_t vlan_;
  unsigned all_;
};

Bytes numbers(size_t count) {
  Bytes bytes(count);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  return bytes;
}

TEST(OuterPort, ReceivesWhereTheDatagramLies) {
  for (const uint16_t vlan : {0, 12}) {
    World world(2047, vlan);
    world.arrive("192.0.2.2:1000", "192.0.2.1:51820", numbers(50), 0xb9);
    world.arrive("[2001:db8::2]:1001", "[2001:db8::1]:51821", numbers(60));
    io::Received& batch = world.receive();
    ASSERT_EQ(batch.count, 2u);
    ASSERT_EQ(batch.envelope_count, 2u);
    EXPECT_EQ(Bytes(batch.datagrams[0].bytes, batch.datagrams[0].bytes + batch.datagrams[0].length), numbers(50));
    EXPECT_EQ(Bytes(batch.datagrams[1].bytes, batch.datagrams[1].bytes + batch.datagrams[1].length), numbers(60));
    const io::Envelope& v4 = batch.envelopes[0];
    EXPECT_EQ(io::to_string(v4.endpoint), "192.0.2.2:1000");
    EXPECT_EQ(v4.endpoint.source, address("192.0.2.1"));
    EXPECT_EQ(v4.local_port, kPort);
    EXPECT_EQ(v4.traffic_class, 0xb9);
    EXPECT_EQ(io::to_string(batch.envelopes[1].endpoint), "[2001:db8::2]:1001");
    EXPECT_EQ(batch.envelopes[1].local_port, 51821);
    EXPECT_EQ(batch.datagrams[1].envelope, 1);
    EXPECT_EQ(batch.datagrams[0].lease.memory, io::Memory::mbuf);
    world.outer.release(batch);
    EXPECT_EQ(world.outer.counters().datagrams_received.get(), 2u);
  }
}

TEST(OuterPort, MakesAnEnvelopeForEachRun) {
  World world;
  for (const auto& [from, traffic_class] : std::initializer_list<std::pair<const char*, uint8_t>>{
           {"192.0.2.2:1", 0}, {"192.0.2.2:1", 0}, {"192.0.2.2:2", 0}, {"192.0.2.2:2", 3}, {"192.0.2.3:2", 3}})
    world.arrive(from, "192.0.2.1:51820", numbers(40), traffic_class);
  io::Received& batch = world.receive();
  ASSERT_EQ(batch.count, 5u);
  EXPECT_EQ(batch.envelope_count, 4u);
  EXPECT_EQ(batch.datagrams[1].envelope, 0);
  EXPECT_EQ(batch.datagrams[4].envelope, 3);
  world.outer.release(batch);
}

TEST(OuterPort, CountsWhatItDoesNotTake) {
  World world;
  world.arrive("192.0.2.2:1000", "192.0.2.1:51822", numbers(40));  // a port of somebody else
  world.arrive("192.0.2.2:1000", "192.0.2.9:51820", numbers(40));  // an address of somebody else
  world.arrive("192.0.2.2:1000", "192.0.2.1:51820", {});
  Bytes frame = world.frame("192.0.2.2:1000", "192.0.2.1:51820", numbers(40));
  frame[24] ^= 1;
  world.ring.arrive(frame);
  frame = world.frame("[2001:db8::2]:1000", "[2001:db8::1]:51820", numbers(40));
  frame[20] = 44, frame[54] = 17, frame[57] = 1;
  world.ring.arrive(frame);
  world.ring.arrive(Bytes(20, 0xff));
  rte_mbuf* const flagged = world.ring.arrive(world.frame("192.0.2.2:1000", "192.0.2.1:51820", numbers(40)));
  flagged->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_BAD;
  io::Received& batch = world.receive();
  EXPECT_EQ(batch.count, 0u);
  world.outer.release(batch);
  const PortCounters& counters = world.outer.port_counters();
  EXPECT_EQ(counters.foreign.get(), 3u);
  EXPECT_EQ(counters.malformed.get(), 2u);
  EXPECT_EQ(counters.fragments.get(), 1u);
  EXPECT_EQ(world.outer.counters().empty.get(), 1u);
}

TEST(OuterPort, JoinsADatagramThatArrivesInPieces) {
  World world;
  world.ring.arrive(world.frame("192.0.2.2:1000", "192.0.2.1:51820", numbers(200)), {20, 100});
  io::Received& batch = world.receive();
  ASSERT_EQ(batch.count, 1u);
  EXPECT_EQ(Bytes(batch.datagrams[0].bytes, batch.datagrams[0].bytes + 200), numbers(200));
  world.outer.release(batch);
}

TEST(OuterPort, SendsWhatWasWrittenIntoItsRoom) {
  for (const uint16_t vlan : {0, 12}) {
    for (const bool v6 : {false, true}) {
      World world(2047, vlan);
      io::Sending& batch = world.to_send(v6 ? "[2001:db8::2]:1000" : "192.0.2.2:1000", 300, 100);
      world.outer.lend(batch);
      for (uint32_t i = 0; i < batch.count; ++i) {
        ASSERT_NE(batch.datagrams[i].bytes, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(batch.datagrams[i].bytes + 16) % 64, 0u) << "text on a cache line";
        std::fill_n(batch.datagrams[i].bytes, 100, static_cast<uint8_t>(i));
      }
      world.outer.send(batch);
      EXPECT_EQ(batch.lost, 0u);
      const std::vector<Bytes> frames = test::take_frames(world.ring);
      ASSERT_EQ(frames.size(), 300u);
      for (size_t i = 0; i < frames.size(); ++i) {
        DatagramFrame read;
        ASSERT_EQ(read_datagram(frames[i], {test::kNextMac, vlan}, false, read), FrameVerdict::ours);
        ASSERT_EQ(read.payload_bytes, 100u);
        EXPECT_EQ(read.traffic_class, 0x88);
        EXPECT_EQ(frames[i].back(), static_cast<uint8_t>(i)) << "in order";
      }
      EXPECT_EQ(world.outer.counters().datagrams_sent.get(), 300u);
    }
  }
}

// A plain packet in an mbuf as an inner port lends it.
struct PlainMbuf {
  PlainMbuf(rte_mempool* pool, uint16_t headroom, uint16_t bytes) : mbuf(rte_pktmbuf_alloc(pool)) {
    mbuf->data_off = headroom;
    plain = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, bytes));
    mbuf->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_RSS_HASH;
    mbuf->tx_offload = ~uint64_t{0};
    lease = {mbuf, io::Memory::mbuf};
  }
  rte_mbuf* mbuf;
  uint8_t* plain;
  io::Lease lease;
};

TEST(OuterPort, TakesOverTheMemoryOfAPlainPacket) {
  World world;
  io::Sending& batch = world.to_send("192.0.2.2:1000", 4, 112);
  PlainMbuf good(world.pool.get(), 128, 80), cramped(world.pool.get(), 57, 80), shared(world.pool.get(), 128, 80);
  rte_mbuf_refcnt_set(shared.mbuf, 2);
  io::Lease borrowed;
  batch.datagrams[0].plain = good.plain, batch.datagrams[0].lease = &good.lease;
  batch.datagrams[1].plain = cramped.plain, batch.datagrams[1].lease = &cramped.lease;
  batch.datagrams[2].plain = shared.plain, batch.datagrams[2].lease = &shared.lease;
  batch.datagrams[3].plain = good.plain, batch.datagrams[3].lease = &borrowed;
  world.outer.lend(batch);
  EXPECT_EQ(batch.datagrams[0].bytes + io::Outgoing::kPlainOffset, good.plain);
  EXPECT_EQ(good.lease.handle, nullptr) << "the claim went over";
  for (int i = 1; i < 4; ++i) {
    ASSERT_NE(batch.datagrams[i].bytes, nullptr);
    EXPECT_NE(batch.datagrams[i].bytes + io::Outgoing::kPlainOffset, batch.datagrams[i].plain) << i;
  }
  world.outer.send(batch);
  EXPECT_EQ(world.outer.port_counters().taken_over.get(), 1u);
  rte_mbuf* const sent = world.ring.left();
  EXPECT_EQ(sent, good.mbuf);
  EXPECT_EQ(sent->ol_flags, 0u) << "what was said of the received frame must not go out";
  EXPECT_EQ(sent->tx_offload, 0u);
  rte_pktmbuf_free(sent);
  rte_pktmbuf_free(cramped.mbuf);
  rte_mbuf_refcnt_set(shared.mbuf, 1);
  rte_pktmbuf_free(shared.mbuf);
}

TEST(OuterPort, SurvivesAnEmptyPool) {
  World world(127);
  std::vector<rte_mbuf*> held;
  while (rte_mbuf* const mbuf = rte_pktmbuf_alloc(world.pool.get())) held.push_back(mbuf);
  io::Sending& batch = world.to_send("192.0.2.2:1000", 100, 100);
  world.outer.lend(batch);
  EXPECT_EQ(batch.datagrams[0].bytes, nullptr);
  world.outer.send(batch);
  EXPECT_EQ(batch.lost, 100u);
  EXPECT_TRUE(batch.datagrams[99].lost);
  EXPECT_EQ(world.outer.port_counters().no_memory.get(), 100u);
  rte_pktmbuf_free_bulk(held.data(), static_cast<unsigned>(held.size()));
  world.outer.lend(world.to_send("192.0.2.2:1000", 100, 100));
  world.outer.send(batch);
  EXPECT_EQ(batch.lost, 0u) << "and goes on when there is memory again";
}

TEST(OuterPort, LosesOnlyWhatDoesNotFitTheRing) {
  World world(2047, 0, 64);
  io::Sending& batch = world.to_send("192.0.2.2:1000", 100, 100);
  world.outer.lend(batch);
  world.outer.send(batch);
  EXPECT_EQ(batch.lost, 37u) << "a ring of 64 holds 63";
  EXPECT_FALSE(batch.datagrams[62].lost);
  EXPECT_TRUE(batch.datagrams[63].lost);
  EXPECT_EQ(world.outer.counters().send_stalls.get(), 37u);
}

TEST(OuterPort, LosesWhatHasNoWay) {
  World world;
  NextHops lonely = test::host_at(world.ring.port->mac());
  lonely.neighbours.clear();
  world.hops.publish(lonely);
  io::Sending& batch = world.to_send("192.0.2.2:1000", 3, 100);
  world.outer.lend(batch);
  EXPECT_EQ(batch.datagrams[0].bytes, nullptr);
  world.outer.send(batch);
  EXPECT_EQ(batch.lost, 3u);
  EXPECT_EQ(world.outer.port_counters().no_neighbour.get(), 3u);
  world.hops.publish(test::host_at(world.ring.port->mac()));
  world.outer.lend(world.to_send("192.0.2.2:1000", 3, 100));
  world.outer.send(batch);
  EXPECT_EQ(batch.lost, 0u) << "once the neighbour is known";
}

TEST(OuterPort, LosesWhatIsLongerThanTheMtu) {
  World world;
  for (const auto& [to, most] : {std::pair{"192.0.2.2:1000", 1472U}, {"[2001:db8::2]:1000", 1452U}}) {
    for (const uint32_t length : {most, most + 1}) {
      io::Sending& batch = world.to_send(to, 1, length);
      world.outer.lend(batch);
      world.outer.send(batch);
      EXPECT_EQ(batch.lost, length == most ? 0u : 1u) << to << ' ' << length;
    }
  }
}

TEST(OuterPort, ForgetsASourceThatIsNotOurs) {
  World world;
  io::Sending& batch = world.to_send("192.0.2.2:1000", 1, 100, "192.0.2.77");
  world.outer.lend(batch);
  world.outer.send(batch);
  EXPECT_TRUE(batch.destinations[0].source_refused);
  EXPECT_EQ(batch.lost, 0u) << "it went from an address of ours";
  world.outer.lend(world.to_send("192.0.2.2:1000", 1, 100, "192.0.2.1"));
  world.outer.send(batch);
  EXPECT_FALSE(batch.destinations[0].source_refused);
  EXPECT_EQ(world.outer.local_ports().size(), 2u);
}

// A port whose neighbours somebody finds out.
struct AskingWorld {
  Pool pool = test::test_pool();
  RingPort ring{pool.get()};
  NextHops known = test::host_at(ring.port->mac());
  PublishedNextHops hops{[this] {
    NextHops none = known;
    none.neighbours.clear();
    return none;
  }()};
  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  WantedHops wanted{*wakeup};
  unsigned all = rte_mempool_avail_count(pool.get());
  std::unique_ptr<OuterPort> outer = std::make_unique<OuterPort>(
      *ring.port, uint16_t{0}, hops, OuterPortOptions{.local_ports = {kPort}, .wanted = &wanted});
  io::Sending sending;
  io::Received received;

  // Sends so many datagrams of one byte, which is their number. Returns how many were lost.
  uint32_t send(size_t count) {
    sending.clear();
    sending.count = static_cast<uint32_t>(count);
    sending.destination_count = 1;
    sending.destinations[0].envelope = {endpoint("203.0.113.5:51820"), kPort, 0};
    for (io::Outgoing& out : std::span(sending.datagrams).first(count)) out = {.length = 1};
    outer->lend(sending);
    for (size_t i = 0; i < count; ++i)
      if (sending.datagrams[i].bytes != nullptr) sending.datagrams[i].bytes[0] = static_cast<uint8_t>(i);
    outer->send(sending);
    return sending.lost;
  }
};

TEST(OuterPort, KeepsTheFirstDatagramsUntilTheNextHopIsKnown) {
  AskingWorld world;
  EXPECT_EQ(world.send(3), 0u);
  EXPECT_TRUE(test::take_frames(world.ring).empty());
  EXPECT_TRUE(world.wakeup->drain());
  EXPECT_EQ(world.wanted.take(), std::vector<io::Address>{address("198.51.100.1")}) << "the gateway is asked for, once";
  world.outer->receive(world.received);
  EXPECT_TRUE(test::take_frames(world.ring).empty());
  world.hops.publish(world.known);
  world.outer->receive(world.received);
  const std::vector<Bytes> frames = test::take_frames(world.ring);
  ASSERT_EQ(frames.size(), 3u);
  for (size_t i = 0; i < frames.size(); ++i) {
    EXPECT_TRUE(std::equal(test::kNextMac.begin(), test::kNextMac.end(), frames[i].begin()));
    EXPECT_EQ(frames[i].back(), i) << "in order";
  }
  EXPECT_EQ(world.outer->counters().datagrams_sent.get(), 3u);
  EXPECT_EQ(world.send(1), 0u);
  EXPECT_EQ(test::take_frames(world.ring).size(), 1u) << "the way is known";
}

TEST(OuterPort, AsksAgainForANextHopThatWasForgotten) {
  AskingWorld world;
  (void)world.wanted.take();  // for a while now, what is wanted is forgotten
  EXPECT_EQ(world.send(1), 0u);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  bool asked = false;
  while (!(asked = world.wakeup->drain()) && std::chrono::steady_clock::now() < until)
    world.outer->receive(world.received);
  EXPECT_TRUE(asked);
}

TEST(OuterPort, KeepsNoMoreThanAFewAndLeavesNone) {
  AskingWorld world;
  EXPECT_EQ(world.send(100), 36u);
  EXPECT_EQ(world.outer->port_counters().no_neighbour.get(), 36u);
  EXPECT_EQ(std::count_if(world.sending.datagrams.begin(), world.sending.datagrams.begin() + 100,
                          [](const io::Outgoing& out) { return out.lost; }),
            36);
  EXPECT_EQ(rte_mempool_avail_count(world.pool.get()), world.all - 64);
  world.outer.reset();
  EXPECT_EQ(rte_mempool_avail_count(world.pool.get()), world.all);
}

}  // namespace
}  // namespace culvert::dpdk
