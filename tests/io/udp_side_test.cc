// UdpSide on the loopback interface of the real kernel.
#include "io/udp_side.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/io/loopback.h"

namespace culvert::io {
namespace {

constexpr const char* kHosts[] = {"127.0.0.1", "[::1]"};

struct TrainCase {
  const char* name;
  uint16_t datagrams, size, last;  // last 0: as long as the others
};

const TrainCase kTrainCases[] = {
    {"a keepalive", 1, 32, 0},
    {"one byte", 1, 1, 0},
    {"an initiation", 1, 148, 0},
    {"a full datagram", 1, 1452, 0},
    {"the longest v4 datagram", 1, 65507, 0},
    {"two datagrams", 2, 1452, 0},
    {"a short last datagram", 2, 1452, 1},
    {"a last datagram shorter by one", 2, 1452, 1451},
    {"a full train of full datagrams", 45, 1452, 0},
    {"a full train with a short last datagram", 45, 1452, 32},
    {"64 small datagrams", 64, 96, 0},
    {"65 small datagrams", 65, 96, 0},
    {"127 small datagrams with a short last one", 127, 96, 48},
    {"128 small datagrams", 128, 96, 0},
    {"128 datagrams of one byte", 128, 1, 0},
    {"128 datagrams of 511 bytes", 128, 511, 0},
    {"jumbo datagrams", 7, 8932, 16},
    {"two datagrams of half a train", 2, 32736, 0},
};

class UdpSideTest : public WithEngines {};
INSTANTIATE_WITH_ENGINES(UdpSideTest);

TEST_P(UdpSideTest, TrainsArriveAsTheyWereSent) {
  for (const bool gso : {true, false}) {
    for (const bool gro : {true, false}) {
      End from({.gso = gso}), to({.gro = gro});
      for (const char* host : kHosts) {
        for (const TrainCase& c : kTrainCases) {
          SCOPED_TRACE(testing::Message() << c.name << " to " << host << " gso " << gso << " gro " << gro);
          OutgoingRuns out;
          out.add(to.at(host), c.datagrams, c.size, c.last);
          const uint64_t before = from.side.counters().trains_sent.get(),
                         trains = to.side.counters().trains_received.get();
          out.send(from.side);
          EXPECT_EQ(out.trains[0].datagrams_sent, c.datagrams);
          EXPECT_FALSE(out.trains[0].gso_refused);
          EXPECT_FALSE(out.trains[0].source_refused);
          EXPECT_EQ(from.side.counters().trains_sent.get() - before, gso ? 1 : c.datagrams);
          const auto received = to.receive(c.datagrams);
          EXPECT_EQ(bytes_of(received), out.datagrams(to.at(host)));
          const uint64_t came = to.side.counters().trains_received.get() - trains;
          if (gso && to.sockets->gro_active()) EXPECT_EQ(came, 1u);
          if (!gro) EXPECT_EQ(came, c.datagrams);
          for (const Arrived& r : received) {
            EXPECT_TRUE(r.envelope.endpoint.same_remote(from.at(host)));
            EXPECT_EQ(r.envelope.endpoint.source, to.at(host).remote);
          }
        }
      }
      EXPECT_EQ(from.side.counters().gso_downgrades.get(), 0u);
      EXPECT_EQ(from.side.counters().send_errors.get(), 0u);
      EXPECT_EQ(to.side.counters().truncated.get(), 0u);
      EXPECT_EQ(to.side.counters().datagrams_received.get(), from.side.counters().datagrams_sent.get());
    }
  }
}

TEST_P(UdpSideTest, EveryNumberOfDatagramsArrives) {
  End from, to;
  for (const char* host : kHosts) {
    for (uint16_t datagrams = 1; datagrams <= kMaxTrainDatagrams; ++datagrams) {
      OutgoingRuns out;
      out.add(to.at(host), datagrams, 100, 60);
      out.send(from.side);
      ASSERT_EQ(bytes_of(to.receive(datagrams)), out.datagrams(to.at(host))) << datagrams << " to " << host;
    }
  }
}

TEST_P(UdpSideTest, EveryPowerOfTwoAndItsNeighboursArriveAsOneDatagram) {
  End from, to;
  for (const char* host : kHosts) {
    for (uint32_t power = 1; power <= 65536; power *= 2) {
      for (const uint32_t size : {power - 1, power, power + 1}) {
        if (size == 0 || size > 65507) continue;
        OutgoingRuns out;
        out.add(to.at(host), 1, static_cast<uint16_t>(size));
        out.send(from.side);
        ASSERT_EQ(bytes_of(to.receive(1)), out.datagrams(to.at(host))) << size << " to " << host;
      }
    }
  }
}

TEST_P(UdpSideTest, ABatchForManyEndpointsKeepsTheOrderOfEach) {
  End from, a, b;
  const Endpoint ends[] = {a.at("127.0.0.1"), b.at("[::1]"), b.at("127.0.0.1"), a.at("[::1]")};
  OutgoingRuns out;
  for (uint16_t i = 0; i < 200; ++i)
    out.add(ends[i % 4], static_cast<uint16_t>(1 + i % 7), static_cast<uint16_t>(64 + i), 20);
  out.send(from.side);
  size_t at_a = 0, at_b = 0;
  for (const OutgoingRun& train : out.trains) {
    EXPECT_EQ(train.datagrams_sent, train.datagrams);
    (train.to.port == a.sockets->port() ? at_a : at_b) += train.datagrams;
  }
  for (auto& [end, count] : {std::pair<End&, size_t&>(a, at_a), std::pair<End&, size_t&>(b, at_b)}) {
    const auto received = end.receive(count);
    for (const Family family : {Family::v4, Family::v6}) {
      std::vector<Arrived> of_family;
      std::copy_if(received.begin(), received.end(), std::back_inserter(of_family),
                   [&](const Arrived& r) { return r.envelope.endpoint.remote.family == family; });
      EXPECT_EQ(bytes_of(of_family), out.datagrams(end.at(family == Family::v4 ? "127.0.0.1" : "[::1]")));
    }
  }
  EXPECT_EQ(from.side.counters().datagrams_sent.get(), out.total());
}

TEST_P(UdpSideTest, TheTrafficClassIsCarried) {
  End from, to;
  for (const char* host : kHosts) {
    for (const uint8_t traffic_class : {0x00, 0x01, 0x02, 0x03, 0x88, 0xb8, 0xff}) {
      for (const uint16_t datagrams : {1, 3}) {
        OutgoingRuns out;
        out.add(to.at(host), datagrams, 100).traffic_class = traffic_class;
        out.send(from.side);
        for (const Arrived& r : to.receive(datagrams)) EXPECT_EQ(r.envelope.traffic_class, traffic_class) << host;
      }
    }
  }
}

TEST_P(UdpSideTest, AnAnswerLeavesFromTheAddressThatWasAsked) {
  End a, b;
  OutgoingRuns question;
  question.add(b.at("127.0.0.2"), 3, 100);
  question.send(a.side);
  Endpoint asker = b.receive(3)[0].envelope.endpoint;
  EXPECT_EQ(asker.source, endpoint("127.0.0.2:0").remote);

  for (const bool sticky : {true, false}) {
    if (!sticky) asker.source = {};
    OutgoingRuns answer;
    answer.add(asker, 3, 100);
    answer.send(b.side);
    EXPECT_FALSE(answer.trains[0].source_refused);
    const auto received = a.receive(3);
    EXPECT_EQ(received[0].envelope.endpoint.remote, endpoint(sticky ? "127.0.0.2:0" : "127.0.0.1:0").remote);
  }
}

TEST_P(UdpSideTest, ASourceThatIsNotOursIsForgottenAndNothingIsLost) {
  End from, to;
  for (const auto& [host, source] : {std::pair("127.0.0.1", "203.0.113.77"), std::pair("[::1]", "[2001:db8::77]")}) {
    OutgoingRuns out;
    for (int i = 0; i < 3; ++i) {
      Endpoint stale = to.at(host);
      stale.source = endpoint(std::string(source) + ":0").remote;
      out.add(stale, 5, 100, 7);
    }
    out.add(to.at(host), 2, 100);
    out.send(from.side);
    EXPECT_EQ(bytes_of(to.receive(out.total())), out.datagrams(to.at(host))) << host;
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(out.trains[i].source_refused, i < 3) << host;
      EXPECT_FALSE(out.trains[i].gso_refused) << host;
    }
  }
  EXPECT_EQ(from.side.counters().gso_downgrades.get(), 0u);
}

TEST_P(UdpSideTest, ASourceOfTheOtherFamilyIsNoObstacle) {
  End from, to;
  Endpoint moved = to.at("[::1]");
  moved.source = endpoint("127.0.0.1:0").remote;
  OutgoingRuns out;
  out.add(moved, 2, 100);
  out.send(from.side);
  EXPECT_EQ(bytes_of(to.receive(2)), out.datagrams(moved));
  EXPECT_FALSE(out.trains[0].source_refused);
}

TEST_P(UdpSideTest, ATrainThatMayNotUseGsoGoesDatagramByDatagram) {
  End from, to;
  OutgoingRuns out;
  out.add(to.at("127.0.0.1"), 100, 50, 3).allow_gso = false;
  out.send(from.side);
  EXPECT_EQ(from.side.counters().trains_sent.get(), 100u);
  EXPECT_EQ(bytes_of(to.receive(100)), out.datagrams(to.at("127.0.0.1")));
}

TEST_P(UdpSideTest, BothFamiliesGetTheirTurn) {
  constexpr uint16_t kCalls = 2 * UdpSide::kOthersTurn;
  End from, to({.gro = false});
  OutgoingRuns flood;
  for (const char* host : kHosts) flood.add(to.at(host), kCalls * UdpSide::kBuffers, 10);
  flood.send(from.side);
  std::map<Family, int> calls;
  for (int call = 0; call < kCalls; ++call) {
    const std::vector<Arrived> batch = to.receive_batch();
    ASSERT_FALSE(batch.empty());
    for (const Arrived& one : batch)
      EXPECT_EQ(one.envelope.endpoint.remote.family, batch[0].envelope.endpoint.remote.family);
    ++calls[batch[0].envelope.endpoint.remote.family];
  }
  EXPECT_EQ(calls, (std::map<Family, int>{{Family::v4, kCalls / 2}, {Family::v6, kCalls / 2}}));
}

// Trains of one byte each: more datagrams in one call than a batch holds.
TEST_P(UdpSideTest, WhatDoesNotFitIntoABatchComesWithTheNext) {
  for (const bool gro : {true, false}) {
    End from, to({.gro = gro});
    OutgoingRuns out;
    for (int i = 0; i < 4; ++i) out.add(to.at("127.0.0.1"), 100, static_cast<uint16_t>(20 + i));
    out.send(from.side);
    std::vector<Bytes> arrived;
    do {
      for (const Arrived& one : to.receive(1)) arrived.push_back(one.bytes);
      EXPECT_LE(to.batch->count, Received::kMaxDatagrams);
    } while (arrived.size() < out.total());
    EXPECT_EQ(arrived, out.datagrams(to.at("127.0.0.1")));
    EXPECT_FALSE(to.batch->more);
    EXPECT_TRUE(to.receive_batch().empty());
  }
}

TEST_P(UdpSideTest, ARunOfDatagramsSharesAnEnvelope) {
  End a, b, to({.gro = false});
  for (End* const from : {&a, &a, &b, &a}) {
    OutgoingRuns out;
    out.add(to.at("127.0.0.1"), 2, 10);
    out.send(from->side);
  }
  to.side.receive(*to.batch);
  ASSERT_EQ(to.batch->count, 8u);
  EXPECT_EQ(to.batch->envelope_count, 3u);
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(to.batch->datagrams[i].envelope, i / 2 < 2 ? 0u : i / 2 - 1) << i;
  to.side.release(*to.batch);
}

TEST_P(UdpSideTest, AnEmptyDatagramIsCountedAndNotHandedOn) {
  End from, to;
  for (const char* host : kHosts) {
    const Endpoint at = to.at(host);
    SocketAddress address{};
    const socklen_t length = to_socket_address(at.remote, at.port, 0, address);
    EXPECT_EQ(::sendto(from.sockets->fd(at.remote.family), "", 0, 0, &address.any, length), 0);
    OutgoingRuns out;
    out.add(to.at(host), 1, 10);
    out.send(from.side);
    EXPECT_EQ(bytes_of(to.receive(1)), out.datagrams(to.at(host)));
  }
  EXPECT_EQ(to.side.counters().empty.get(), 2u);
  EXPECT_EQ(to.side.counters().datagrams_received.get(), 2u);
}

TEST_P(UdpSideTest, ADatagramForNobodyDoesNotDisturbTheNext) {
  End from, to;
  Endpoint nobody;
  {
    const End gone;
    nobody = gone.at("127.0.0.1");
  }
  for (int i = 0; i < 3; ++i) {
    OutgoingRuns out;
    out.add(nobody, 2, 10);
    out.add(to.at("127.0.0.1"), 2, 10);
    out.send(from.side);
    EXPECT_EQ(bytes_of(to.receive(2)), out.datagrams(to.at("127.0.0.1")));
  }
  EXPECT_TRUE(from.receive_batch().empty());
  EXPECT_EQ(from.side.counters().receive_errors.get(), 0u);
}

TEST_P(UdpSideTest, AnInvalidEndpointIsDroppedAndCounted) {
  End from, to;
  OutgoingRuns out;
  out.add(Endpoint{}, 3, 10);
  out.add(to.at("127.0.0.1"), 1, 10);
  out.send(from.side);
  EXPECT_EQ(out.trains[0].datagrams_sent, 0);
  EXPECT_EQ(out.trains[1].datagrams_sent, 1);
  EXPECT_EQ(from.side.counters().send_errors.get(), 3u);
  OutgoingRuns().send(from.side);
}

TEST_P(UdpSideTest, ADatagramTooLongForItsFamilyIsDroppedAlone) {
  End from, to;
  OutgoingRuns out;
  out.add(to.at("127.0.0.1"), 1, 65508);
  out.add(to.at("127.0.0.1"), 1, 65507);
  out.add(to.at("[::1]"), 1, 65528);
  out.add(to.at("[::1]"), 1, 65527);
  out.send(from.side);
  EXPECT_EQ(out.trains[0].datagrams_sent, 0);
  EXPECT_EQ(out.trains[1].datagrams_sent, 1);
  EXPECT_EQ(out.trains[2].datagrams_sent, 0);
  EXPECT_EQ(out.trains[3].datagrams_sent, 1);
  EXPECT_EQ(from.side.counters().send_errors.get(), 2u);
  EXPECT_EQ(bytes_of(to.receive(2)).size(), 2u);
}

}  // namespace
}  // namespace culvert::io
