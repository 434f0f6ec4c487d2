#include "dpdk/inner_port.h"

#include "src/packet/segment.h"
#include "tests/dpdk/ring_ports.h"
#include "tests/packet/packets.h"

namespace culvert::dpdk {
namespace {

using packet::test::PacketSpec;
using test::Bytes;
using test::RingPort;

struct World {
  explicit World(uint32_t mbufs = 2047, uint16_t vlan = 0, const PortOptions& options = {})
      : pool(test::test_pool(mbufs)),
        ring(pool.get(), options),
        hops(test::host_at(ring.port->mac(), "10.9.9.9", "[fd00::9]", vlan)),
        inner(*ring.port, 0, hops),
        vlan_(vlan),
        all_(rte_mempool_avail_count(pool.get())) {}
  ~World() {
    (void)test::take_frames(ring);
    EXPECT_EQ(rte_mempool_avail_count(pool.get()), all_) << "an mbuf did not come home";
  }

  Bytes frame(const Bytes& packet) const {
    const Link theirs{test::kNextMac, vlan_};
    Bytes bytes(theirs.header_bytes());
    bytes.insert(bytes.end(), packet.begin(), packet.end());
    (void)write_link_header(theirs, ring.port->mac(), packet[0] >> 4 == 6, bytes.data() + theirs.header_bytes());
    return bytes;
  }
  io::PlainBatch& read() {
    EXPECT_EQ(inner.read(batch), io::ReadOutcome::ok);
    return batch;
  }
  // The frames that left without their link headers, which are checked.
  std::vector<Bytes> packets_that_left() {
    std::vector<Bytes> packets;
    for (const Bytes& frame : test::take_frames(ring)) {
      LinkFrame read;
      EXPECT_EQ(read_link_header(frame, {test::kNextMac, vlan_}, read), FrameVerdict::ours);
      packets.emplace_back(frame.begin() + read.packet_at, frame.end());
      EXPECT_EQ(read.v6, packets.back()[0] >> 4 == 6);
    }
    return packets;
  }

  Pool pool;
  RingPort ring;
  PublishedNextHops hops;
  InnerPort inner;
  io::PlainBatch batch;

 private:
  uint16_t vlan_;
  unsigned all_;
};

Bytes bytes_of(const io::Superpacket& packet) {
  return {packet.bytes, packet.bytes + packet.length};
}

Bytes packet_of(size_t payload_bytes, bool v6 = false, bool tcp = true) {
  PacketSpec spec;
  spec.payload_bytes = payload_bytes;
  spec.v6 = v6;
  spec.tcp = tcp;
  return packet::test::make_packet(spec);
}

TEST(InnerPort, ReadsWhereThePacketLies) {
  for (const uint16_t vlan : {0, 3}) {
    World world(2047, vlan);
    const Bytes v4 = packet_of(100), v6 = packet_of(200, true), small = packet_of(0);
    world.ring.arrive(world.frame(v4));
    world.ring.arrive(world.frame(v6));
    Bytes padded = world.frame(small);
    padded.resize(80, 0xee);
    world.ring.arrive(padded);
    io::PlainBatch& batch = world.read();
    ASSERT_EQ(batch.count, 3u);
    EXPECT_EQ(bytes_of(batch.packets[0]), v4);
    EXPECT_EQ(bytes_of(batch.packets[1]), v6);
    EXPECT_EQ(bytes_of(batch.packets[2]), small) << "without the padding of the link";
    EXPECT_EQ(batch.packets[0].lease.memory, io::Memory::mbuf);
    EXPECT_EQ(batch.packets[0].offload.gso, io::GsoType::none);
    world.inner.release(batch);
    EXPECT_EQ(world.inner.port_counters().copied.get(), 0u);
    EXPECT_EQ(world.inner.counters().read_packets.get(), 3u);
  }
}

TEST(InnerPort, CopiesWhatComesInPiecesOrWithoutRoomBehind) {
  World world;
  const Bytes packet = packet_of(1000);
  world.ring.arrive(world.frame(packet), {300, 700});
  rte_mbuf* const full = world.ring.arrive(world.frame(packet));
  full->buf_len = static_cast<uint16_t>(full->data_off + full->data_len + io::kTailroom - 1);
  io::PlainBatch& batch = world.read();
  ASSERT_EQ(batch.count, 2u);
  EXPECT_EQ(bytes_of(batch.packets[0]), packet);
  EXPECT_EQ(bytes_of(batch.packets[1]), packet);
  EXPECT_EQ(batch.packets[0].lease.memory, io::Memory::borrowed);
  world.inner.release(batch);
  EXPECT_EQ(world.inner.port_counters().copied.get(), 2u);
}

TEST(InnerPort, CountsWhatItDoesNotTake) {
  World world;
  Bytes foreign = world.frame(packet_of(100));
  foreign[5] ^= 1;
  world.ring.arrive(foreign);
  Bytes arp = world.frame(packet_of(100));
  arp[13] = 6;
  world.ring.arrive(arp);
  Bytes cut = world.frame(packet_of(100));
  cut.resize(100);
  world.ring.arrive(cut);
  world.ring.arrive(world.frame(packet_of(100)))->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_BAD;
  io::PlainBatch& batch = world.read();
  EXPECT_EQ(batch.count, 0u);
  world.inner.release(batch);
  EXPECT_EQ(world.inner.port_counters().foreign.get(), 2u);
  EXPECT_EQ(world.inner.port_counters().malformed.get(), 1u);
  EXPECT_EQ(world.inner.counters().read_refused.get(), 1u);
}

TEST(InnerPort, ReadsASuperpacketThatTheDeviceHasJoined) {
  World world;
  for (const bool v6 : {false, true}) {
    const Bytes packet = packet_of(4000, v6);
    rte_mbuf* const mbuf = world.ring.arrive(world.frame(packet), {1200, 2400, 3600});
    mbuf->ol_flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
    mbuf->tso_segsz = 1100;
    io::PlainBatch& batch = world.read();
    ASSERT_EQ(batch.count, 1u);
    const io::Offload& offload = batch.packets[0].offload;
    const auto ip_bytes = static_cast<uint16_t>(v6 ? 40 : 20);
    EXPECT_EQ(offload.gso, io::GsoType::tcp);
    EXPECT_EQ(offload.gso_size, 1100);
    EXPECT_TRUE(offload.needs_checksum);
    EXPECT_EQ(offload.header_length, ip_bytes + 20);
    EXPECT_EQ(offload.checksum_start, ip_bytes);
    EXPECT_EQ(offload.checksum_offset, 16);
    world.inner.release(batch);
  }
}

TEST(InnerPort, FinishesAChecksumThatTheSenderLeftOpen) {
  World world;
  Bytes packet = packet_of(100, false, false);
  packet::test::put16(packet, 26, 0x1234);
  world.ring.arrive(world.frame(packet))->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  io::PlainBatch& batch = world.read();
  ASSERT_EQ(batch.count, 1u);
  EXPECT_TRUE(batch.packets[0].offload.needs_checksum);
  EXPECT_EQ(batch.packets[0].offload.checksum_offset, 6);
  packet::SegmentPlan plan;
  ASSERT_EQ(plan.plan(batch.packets[0]), packet::SegmentError::none);
  Bytes out(plan.length(0));
  plan.write(0, out.data());
  EXPECT_EQ(out, packet_of(100, false, false));
  world.inner.release(batch);
}

TEST(InnerPort, SeesByItselfThatAChecksumIsOnlyBegunWhereTheDriverDoesNotSay) {
  World silent(2047, 0, {.unfinished_checksums = true}), usual;
  for (const bool tcp : {false, true}) {
    for (const bool v6 : {false, true}) {
      const Bytes whole = packet_of(100, v6, tcp);
      const size_t transport = v6 ? 40 : 20, field = transport + (tcp ? 16 : 6);
      Bytes begun = whole;
      const uint32_t length = static_cast<uint32_t>(whole.size() - transport);
      // The kernel's CHECKSUM_PARTIAL: the sum of the pseudo header, not its complement.
      packet::test::put16(begun, field,
                          packet::test::naive_checksum(std::span(whole).subspan(v6 ? 8 : 12, v6 ? 32 : 8),
                                                       length + (tcp ? IPPROTO_TCP : IPPROTO_UDP)));
      silent.ring.arrive(silent.frame(begun));
      silent.ring.arrive(silent.frame(whole));
      io::PlainBatch& batch = silent.read();
      ASSERT_EQ(batch.count, 2u);
      EXPECT_TRUE(batch.packets[0].offload.needs_checksum);
      EXPECT_FALSE(batch.packets[1].offload.needs_checksum);
      packet::SegmentPlan plan;
      ASSERT_EQ(plan.plan(batch.packets[0]), packet::SegmentError::none);
      Bytes out(plan.length(0));
      plan.write(0, out.data());
      EXPECT_EQ(out, whole);
      silent.inner.release(batch);
      usual.ring.arrive(usual.frame(begun));
      EXPECT_FALSE(usual.read().packets[0].offload.needs_checksum) << "a driver that would have said so";
      usual.inner.release(usual.batch);
    }
  }
}

// A packet to write, gathered from `parts`; those with a lease lie in mbufs.
struct Gathering {
  std::vector<iovec> parts;
  std::vector<io::Lease*> leases;
  io::GatheredPacket packet;

  const io::GatheredPacket& finish() {
    packet.parts = parts;
    packet.leases = leases.data();
    packet.length = 0;
    for (const iovec& part : parts) packet.length += static_cast<uint32_t>(part.iov_len);
    packet.packets = static_cast<uint16_t>(parts.size());
    return packet;
  }
};

TEST(InnerPort, WritesTheMbufThatAPacketWasOpenedIn) {
  for (const uint16_t vlan : {0, 3}) {
    World world(2047, vlan);
    const Bytes packet = packet_of(300);
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(world.pool.get());
    mbuf->data_off = 200;
    std::copy(packet.begin(), packet.end(), reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, 340)));
    io::Lease lease{mbuf, io::Memory::mbuf};
    Gathering one;
    one.parts = {{rte_pktmbuf_mtod(mbuf, void*), 340}};
    one.leases = {&lease};
    EXPECT_EQ(world.inner.write({&one.finish(), 1}), 1u);
    EXPECT_EQ(lease.handle, nullptr);
    EXPECT_EQ(world.packets_that_left(), std::vector<Bytes>{packet});
    EXPECT_EQ(world.inner.port_counters().copied.get(), 0u);
  }
}

TEST(InnerPort, CopiesWhatItCannotTake) {
  World world;
  Bytes v4 = packet_of(300), v6 = packet_of(500, true);
  std::vector<Gathering> both(2);
  both[0].parts = {{v4.data(), 100}, {v4.data() + 100, v4.size() - 100}};
  both[0].leases = {nullptr, nullptr};
  both[1].parts = {{v6.data(), v6.size()}};
  std::vector<io::GatheredPacket> packets;
  for (Gathering& one : both) packets.push_back(one.finish());
  packets[1].leases = nullptr;
  EXPECT_EQ(world.inner.write(packets), 2u);
  EXPECT_EQ(world.packets_that_left(), (std::vector<Bytes>{v4, v6}));
  EXPECT_EQ(world.inner.port_counters().copied.get(), 2u);
}

TEST(InnerPort, ChainsTheMbufsOfASuperpacketForTheDeviceToCut) {
  World world;
  PacketSpec spec;
  spec.payload_bytes = 3 * 1000;
  Bytes packet = packet::test::make_packet(spec);
  std::vector<io::Lease> leases(3);
  Gathering super;
  for (size_t i = 0; i < 3; ++i) {
    const size_t begin = i == 0 ? 0 : 40 + i * 1000, end = 40 + (i + 1) * 1000;
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(world.pool.get());
    mbuf->ol_flags = RTE_MBUF_F_RX_VLAN;
    const auto length = static_cast<uint16_t>(end - begin);
    std::copy_n(packet.begin() + static_cast<long>(begin), length,
                reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, length)));
    leases[i] = {mbuf, io::Memory::mbuf};
    super.parts.push_back({rte_pktmbuf_mtod(mbuf, void*), length});
    super.leases.push_back(&leases[i]);
  }
  super.packet.offload = {io::GsoType::tcp, true, 40, 1000, 20, 16};
  EXPECT_EQ(world.inner.write({&super.finish(), 1}), 1u);
  rte_mbuf* const sent = world.ring.left();
  ASSERT_NE(sent, nullptr);
  rte_mbuf_sanity_check(sent, 1);
  EXPECT_EQ(sent->nb_segs, 3);
  EXPECT_EQ(sent->pkt_len, packet.size() + 14);
  EXPECT_EQ(sent->ol_flags,
            RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM);
  EXPECT_EQ(sent->l2_len, 14u);
  EXPECT_EQ(sent->l3_len, 20u);
  EXPECT_EQ(sent->l4_len, 20u);
  EXPECT_EQ(sent->tso_segsz, 1000);
  const Bytes frame = test::bytes_of(sent);
  EXPECT_EQ(Bytes(frame.begin() + 54, frame.end()), Bytes(packet.begin() + 40, packet.end()));
  EXPECT_EQ(packet::test::get16(std::span(frame).subspan(14), 10), 0u) << "the device fills it in";
  EXPECT_EQ(packet::test::get16(std::span(frame).subspan(14), 36),
            packet::test::naive_checksum(std::span(frame).subspan(26, 8), 6))
      << "the pseudo header's sum without a length";
  rte_pktmbuf_free(sent);
}

TEST(InnerPort, DropsAndCountsWhatItCannotWrite) {
  World world(127);
  Bytes packet = packet_of(300), jumbo = packet_of(1500);
  Gathering one, long_one;
  one.parts = {{packet.data(), packet.size()}};
  one.leases = {nullptr};
  long_one.parts = {{jumbo.data(), jumbo.size()}};
  long_one.leases = {nullptr};
  EXPECT_EQ(world.inner.write({&long_one.finish(), 1}), 0u);
  EXPECT_EQ(world.inner.port_counters().too_long.get(), 1u);
  std::vector<rte_mbuf*> held;
  while (rte_mbuf* const mbuf = rte_pktmbuf_alloc(world.pool.get())) held.push_back(mbuf);
  EXPECT_EQ(world.inner.write({&one.finish(), 1}), 0u);
  EXPECT_EQ(world.inner.port_counters().no_memory.get(), 1u);
  rte_pktmbuf_free_bulk(held.data(), static_cast<unsigned>(held.size()));
  NextHops lonely = test::host_at(world.ring.port->mac());
  lonely.neighbours.clear();
  world.hops.publish(lonely);
  EXPECT_EQ(world.inner.write({&one.finish(), 1}), 0u);
  EXPECT_EQ(world.inner.port_counters().no_neighbour.get(), 1u);
  EXPECT_EQ(world.inner.counters().write_dropped.get(), 3u);
}

TEST(InnerPort, KeepsTheFirstPacketsUntilTheNextHopIsKnown) {
  World world;
  const auto wakeup = io::Wakeup::open();
  ASSERT_TRUE(wakeup);
  WantedHops wanted(*wakeup);
  const NextHops known = test::host_at(world.ring.port->mac());
  NextHops lonely = known;
  lonely.neighbours.clear();
  PublishedNextHops hops(lonely);
  auto inner = std::make_unique<InnerPort>(*world.ring.port, uint16_t{0}, hops, &wanted);
  std::vector<Bytes> packets = {packet_of(100), packet_of(200), packet_of(300, true)};
  const auto write = [&](Bytes& packet) {
    Gathering one;
    one.parts = {{packet.data(), packet.size()}};
    one.leases = {nullptr};
    return inner->write({&one.finish(), 1});
  };
  for (Bytes& packet : packets) EXPECT_EQ(write(packet), 0u);
  EXPECT_TRUE(world.packets_that_left().empty());
  EXPECT_EQ(wanted.take().size(), 2u) << "each is asked for once";
  EXPECT_EQ(inner->counters().write_dropped.get(), 0u);
  hops.publish(known);
  packets.push_back(packet_of(400));
  EXPECT_EQ(write(packets.back()), 1u);
  EXPECT_EQ(world.packets_that_left(), packets) << "in order";
  EXPECT_EQ(inner->counters().written_packets.get(), 4u);
  hops.publish(lonely);
  size_t kept = 0;
  while (inner->port_counters().no_neighbour.get() == 0 && write(packets[0]) == 0 && kept < 1000) ++kept;
  EXPECT_EQ(kept, WaitingFrames::kMost + 1) << "and no more than a few";
  inner.reset();
}

TEST(InnerPort, DropsChainsThatAreTooLongForTheDeviceHoweverMany) {
  World world(8191);
  Bytes packet = packet_of(1000);
  Gathering one;
  for (size_t i = 0; i < 256; ++i) one.parts.push_back({packet.data() + i, 4});
  one.parts[0].iov_len = 40;
  one.leases.resize(256);
  one.packet.offload = {io::GsoType::tcp, true, 40, 4, 20, 16};
  const std::vector<io::GatheredPacket> packets(200, one.finish());
  EXPECT_EQ(world.inner.write(packets), 0u);
  EXPECT_EQ(world.inner.port_counters().too_long.get(), 200u);
}

TEST(InnerPort, JoinsOnlyWhereTheDeviceCuts) {
  World world;
  const io::InnerOffloads offloads = world.inner.offloads();
  EXPECT_FALSE(offloads.tcp4 || offloads.tcp6 || offloads.udp4 || offloads.udp6 || offloads.checksum);
  EXPECT_FALSE(offloads.joining_pays);
}

}  // namespace
}  // namespace culvert::dpdk
