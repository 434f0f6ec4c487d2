// UdpQueue on the loopback interface of the real kernel.
#include "io/udp_queue.h"

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

class UdpQueueTest : public WithEngines {};
INSTANTIATE_WITH_ENGINES(UdpQueueTest);

TEST_P(UdpQueueTest, TrainsArriveAsTheyWereSent) {
  for (const bool gso : {true, false}) {
    for (const bool gro : {true, false}) {
      End from({.gso = gso}), to({.gro = gro});
      for (const char* host : kHosts) {
        for (const TrainCase& c : kTrainCases) {
          SCOPED_TRACE(testing::Message() << c.name << " to " << host << " gso " << gso << " gro " << gro);
          Outgoing out;
          out.add(to.at(host), c.datagrams, c.size, c.last);
          const OuterCounters before = from.queue.counters();
          from.queue.send_batch(out.trains);
          EXPECT_EQ(out.trains[0].datagrams_sent, c.datagrams);
          EXPECT_FALSE(out.trains[0].gso_refused);
          EXPECT_FALSE(out.trains[0].source_refused);
          EXPECT_EQ(from.queue.counters().trains_sent - before.trains_sent, gso ? 1 : c.datagrams);
          const auto received = to.receive(c.datagrams);
          EXPECT_EQ(split(received), out.datagrams(to.at(host)));
          if (gso && to.sockets->gro_active()) EXPECT_EQ(received.size(), 1u);
          if (!gro) EXPECT_EQ(received.size(), c.datagrams);
          for (const Received& r : received) {
            EXPECT_TRUE(r.train.from.same_remote(from.at(host)));
            EXPECT_EQ(r.train.from.source, to.at(host).remote);
          }
        }
      }
      EXPECT_EQ(from.queue.counters().gso_downgrades, 0u);
      EXPECT_EQ(from.queue.counters().send_errors, 0u);
      EXPECT_EQ(to.queue.counters().truncated, 0u);
      EXPECT_EQ(to.queue.counters().datagrams_received, from.queue.counters().datagrams_sent);
    }
  }
}

TEST_P(UdpQueueTest, EveryNumberOfDatagramsArrives) {
  End from, to;
  for (const char* host : kHosts) {
    for (uint16_t datagrams = 1; datagrams <= kMaxTrainDatagrams; ++datagrams) {
      Outgoing out;
      out.add(to.at(host), datagrams, 100, 60);
      from.queue.send_batch(out.trains);
      ASSERT_EQ(split(to.receive(datagrams)), out.datagrams(to.at(host))) << datagrams << " to " << host;
    }
  }
}

TEST_P(UdpQueueTest, EveryPowerOfTwoAndItsNeighboursArriveAsOneDatagram) {
  End from, to;
  for (const char* host : kHosts) {
    for (uint32_t power = 1; power <= 65536; power *= 2) {
      for (const uint32_t size : {power - 1, power, power + 1}) {
        if (size == 0 || size > 65507) continue;
        Outgoing out;
        out.add(to.at(host), 1, static_cast<uint16_t>(size));
        from.queue.send_batch(out.trains);
        ASSERT_EQ(split(to.receive(1)), out.datagrams(to.at(host))) << size << " to " << host;
      }
    }
  }
}

TEST_P(UdpQueueTest, ABatchForManyEndpointsKeepsTheOrderOfEach) {
  End from, a, b;
  const Endpoint ends[] = {a.at("127.0.0.1"), b.at("[::1]"), b.at("127.0.0.1"), a.at("[::1]")};
  Outgoing out;
  for (uint16_t i = 0; i < 200; ++i)
    out.add(ends[i % 4], static_cast<uint16_t>(1 + i % 7), static_cast<uint16_t>(64 + i), 20);
  from.queue.send_batch(out.trains);
  size_t at_a = 0, at_b = 0;
  for (const OutgoingTrain& train : out.trains) {
    EXPECT_EQ(train.datagrams_sent, train.datagrams);
    (train.to.port == a.sockets->port() ? at_a : at_b) += train.datagrams;
  }
  for (auto& [end, count] : {std::pair<End&, size_t&>(a, at_a), std::pair<End&, size_t&>(b, at_b)}) {
    const auto received = end.receive(count);
    for (const Family family : {Family::v4, Family::v6}) {
      std::vector<Received> of_family;
      std::copy_if(received.begin(), received.end(), std::back_inserter(of_family),
                   [&](const Received& r) { return r.train.from.remote.family == family; });
      EXPECT_EQ(split(of_family), out.datagrams(end.at(family == Family::v4 ? "127.0.0.1" : "[::1]")));
    }
  }
  EXPECT_EQ(from.queue.counters().datagrams_sent, out.total());
}

TEST_P(UdpQueueTest, TheTrafficClassIsCarried) {
  End from, to;
  for (const char* host : kHosts) {
    for (const uint8_t traffic_class : {0x00, 0x01, 0x02, 0x03, 0x88, 0xb8, 0xff}) {
      for (const uint16_t datagrams : {1, 3}) {
        Outgoing out;
        out.add(to.at(host), datagrams, 100).traffic_class = traffic_class;
        from.queue.send_batch(out.trains);
        for (const Received& r : to.receive(datagrams)) EXPECT_EQ(r.train.traffic_class, traffic_class) << host;
      }
    }
  }
}

TEST_P(UdpQueueTest, AnAnswerLeavesFromTheAddressThatWasAsked) {
  End a, b;
  Outgoing question;
  question.add(b.at("127.0.0.2"), 3, 100);
  a.queue.send_batch(question.trains);
  Endpoint asker = b.receive(3)[0].train.from;
  EXPECT_EQ(asker.source, endpoint("127.0.0.2:0").remote);

  for (const bool sticky : {true, false}) {
    if (!sticky) asker.source = {};
    Outgoing answer;
    answer.add(asker, 3, 100);
    b.queue.send_batch(answer.trains);
    EXPECT_FALSE(answer.trains[0].source_refused);
    const auto received = a.receive(3);
    EXPECT_EQ(received[0].train.from.remote, endpoint(sticky ? "127.0.0.2:0" : "127.0.0.1:0").remote);
  }
}

TEST_P(UdpQueueTest, ASourceThatIsNotOursIsForgottenAndNothingIsLost) {
  End from, to;
  for (const auto& [host, source] : {std::pair("127.0.0.1", "203.0.113.77"), std::pair("[::1]", "[2001:db8::77]")}) {
    Outgoing out;
    for (int i = 0; i < 3; ++i) {
      Endpoint stale = to.at(host);
      stale.source = endpoint(std::string(source) + ":0").remote;
      out.add(stale, 5, 100, 7);
    }
    out.add(to.at(host), 2, 100);
    from.queue.send_batch(out.trains);
    EXPECT_EQ(split(to.receive(out.total())), out.datagrams(to.at(host))) << host;
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(out.trains[i].source_refused, i < 3) << host;
      EXPECT_FALSE(out.trains[i].gso_refused) << host;
    }
  }
  EXPECT_EQ(from.queue.counters().gso_downgrades, 0u);
}

TEST_P(UdpQueueTest, ASourceOfTheOtherFamilyIsNoObstacle) {
  End from, to;
  Endpoint moved = to.at("[::1]");
  moved.source = endpoint("127.0.0.1:0").remote;
  Outgoing out;
  out.add(moved, 2, 100);
  from.queue.send_batch(out.trains);
  EXPECT_EQ(split(to.receive(2)), out.datagrams(moved));
  EXPECT_FALSE(out.trains[0].source_refused);
}

TEST_P(UdpQueueTest, ATrainThatMayNotUseGsoGoesDatagramByDatagram) {
  End from, to;
  Outgoing out;
  out.add(to.at("127.0.0.1"), 100, 50, 3).allow_gso = false;
  from.queue.send_batch(out.trains);
  EXPECT_EQ(from.queue.counters().trains_sent, 100u);
  EXPECT_EQ(split(to.receive(100)), out.datagrams(to.at("127.0.0.1")));
}

TEST_P(UdpQueueTest, BothFamiliesGetTheirTurn) {
  constexpr uint16_t kCalls = 2 * UdpReceiver::kOthersTurn;
  End from, to({.gro = false});
  Outgoing flood;
  for (const char* host : kHosts) flood.add(to.at(host), kCalls * 2, 10);
  from.queue.send_batch(flood.trains);
  IncomingTrain trains[2];
  std::map<Family, int> calls;
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(to.queue.receive_batch(trains), 2u);
    EXPECT_EQ(trains[0].from.remote.family, trains[1].from.remote.family);
    ++calls[trains[0].from.remote.family];
  }
  EXPECT_EQ(calls, (std::map<Family, int>{{Family::v4, kCalls / 2}, {Family::v6, kCalls / 2}}));
}

TEST_P(UdpQueueTest, TakesNoMoreThanThereIsRoomFor) {
  End from, to({.gro = false});
  Outgoing out;
  out.add(to.at("127.0.0.1"), 5, 10);
  from.queue.send_batch(out.trains);
  IncomingTrain trains[2];
  EXPECT_EQ(to.queue.receive_batch({}), 0u);
  EXPECT_EQ(to.queue.receive_batch(trains), 2u);
  EXPECT_EQ(to.receive(3).size(), 3u);
  EXPECT_EQ(to.queue.receive_batch(trains), 0u);
}

TEST_P(UdpQueueTest, AnEmptyDatagramIsCountedAndNoTrain) {
  End from, to;
  for (const char* host : kHosts) {
    EXPECT_EQ(from.sockets->send_datagram({}, to.at(host), 0).error, 0);
    Outgoing out;
    out.add(to.at(host), 1, 10);
    from.queue.send_batch(out.trains);
    EXPECT_EQ(split(to.receive(1)), out.datagrams(to.at(host)));
  }
  EXPECT_EQ(to.queue.counters().empty, 2u);
  EXPECT_EQ(to.queue.counters().datagrams_received, 2u);
}

TEST_P(UdpQueueTest, ADatagramForNobodyDoesNotDisturbTheNext) {
  End from, to;
  Endpoint nobody;
  {
    const End gone;
    nobody = gone.at("127.0.0.1");
  }
  for (int i = 0; i < 3; ++i) {
    Outgoing out;
    out.add(nobody, 2, 10);
    out.add(to.at("127.0.0.1"), 2, 10);
    from.queue.send_batch(out.trains);
    EXPECT_EQ(split(to.receive(2)), out.datagrams(to.at("127.0.0.1")));
  }
  IncomingTrain trains[1];
  EXPECT_EQ(from.queue.receive_batch(trains), 0u);
  EXPECT_EQ(from.queue.counters().receive_errors, 0u);
}

TEST_P(UdpQueueTest, AnInvalidEndpointIsDroppedAndCounted) {
  End from, to;
  Outgoing out;
  out.add(Endpoint{}, 3, 10);
  out.add(to.at("127.0.0.1"), 1, 10);
  from.queue.send_batch(out.trains);
  EXPECT_EQ(out.trains[0].datagrams_sent, 0);
  EXPECT_EQ(out.trains[1].datagrams_sent, 1);
  EXPECT_EQ(from.queue.counters().send_errors, 3u);
  from.queue.send_batch({});
}

TEST_P(UdpQueueTest, ADatagramTooLongForItsFamilyIsDroppedAlone) {
  End from, to;
  Outgoing out;
  out.add(to.at("127.0.0.1"), 1, 65508);
  out.add(to.at("127.0.0.1"), 1, 65507);
  out.add(to.at("[::1]"), 1, 65528);
  out.add(to.at("[::1]"), 1, 65527);
  from.queue.send_batch(out.trains);
  EXPECT_EQ(out.trains[0].datagrams_sent, 0);
  EXPECT_EQ(out.trains[1].datagrams_sent, 1);
  EXPECT_EQ(out.trains[2].datagrams_sent, 0);
  EXPECT_EQ(out.trains[3].datagrams_sent, 1);
  EXPECT_EQ(from.queue.counters().send_errors, 2u);
  EXPECT_EQ(split(to.receive(2)).size(), 2u);
}

}  // namespace
}  // namespace culvert::io
