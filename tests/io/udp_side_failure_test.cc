// What UdpSide does when the kernel refuses: every failure is injected, and every datagram accounted for.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "io/udp_message.h"
#include "io/udp_side.h"
#include "io/uring/ring_transfer.h"
#include "tests/io/fake_ring.h"
#include "tests/io/outgoing.h"

namespace culvert::io {
namespace {

// A message as the kernel sees it.
struct Message {
  Endpoint to;  // with the source that was asked for
  uint16_t segment_size = 0;
  Bytes bytes;

  size_t datagrams() const { return segment_size == 0 ? 1 : (bytes.size() + segment_size - 1) / segment_size; }
  bool has_source() const { return to.source.family != Family::none; }
};

// A kernel that takes messages and refuses them as a test wants it.
struct FakeKernel {
  static inline std::function<int(const Message&)> verdict;  // 0 or errno
  static inline std::vector<Message> taken;
  static inline size_t refused = 0, calls = 0, most_per_call = 0;
  static inline int polls = 0, poll_result = 1;
  static inline bool has_v6 = true;

  static inline std::function<int(mmsghdr*, unsigned)> receive;  // count or -errno

  static const Syscalls& reset() {
    verdict = [](const Message&) { return 0; };
    receive = [](mmsghdr*, unsigned) { return -EAGAIN; };
    taken.clear();
    refused = calls = 0;
    most_per_call = 1024;
    polls = 0;
    poll_result = 1;
    has_v6 = true;
    static const Syscalls kTable = make_table();
    return kTable;
  }

  static Syscalls make_table() {
    Syscalls table = kernel_syscalls();
    table.socket = [](int domain, int type, int protocol) {
      if (domain == AF_INET6 && !has_v6) {
        errno = EAFNOSUPPORT;
        return -1;
      }
      return ::socket(domain, type, protocol);
    };
    table.sendmmsg = send;
    table.recvmmsg = [](int, mmsghdr* messages, unsigned count, int, timespec*) {
      const int result = receive(messages, count);
      errno = result < 0 ? -result : 0;
      return result < 0 ? -1 : result;
    };
    table.poll = [](pollfd*, nfds_t, int timeout_ms) {
      EXPECT_GT(timeout_ms, 0);
      EXPECT_LE(timeout_ms, UdpSender::kWaitMs);
      ++polls;
      return poll_result;
    };
    return table;
  }

  static Message parse(const msghdr& header) {
    Message message;
    SocketAddress address{};
    std::memcpy(&address, header.msg_name, header.msg_namelen);
    message.to = remote_of(address);
    const auto* begin = static_cast<const uint8_t*>(header.msg_iov->iov_base);
    message.bytes.assign(begin, begin + header.msg_iov->iov_len);
    message.to.source = read_control(header).local;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(const_cast<msghdr*>(&header), c))
      if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
        std::memcpy(&message.segment_size, CMSG_DATA(c), sizeof message.segment_size);
    return message;
  }

  // As sendmmsg(2): a refusal after the first message is reported by the next call only.
  static int send(int, mmsghdr* messages, unsigned count, int) {
    ++calls;
    for (unsigned i = 0; i < count; ++i) {
      const Message message = parse(messages[i].msg_hdr);
      if (i == most_per_call) return static_cast<int>(i);
      if (const int error = verdict(message); error != 0) {
        refused += i == 0 ? 1 : 0;
        errno = error;
        return i == 0 ? -1 : static_cast<int>(i);
      }
      taken.push_back(message);
    }
    return static_cast<int>(count);
  }

  // The same kernel behind a ring.
  static int answer_entry(Ring::Operation operation, mmsghdr& message) {
    const int result = operation == Ring::Operation::send ? send(-1, &message, 1, 0) : receive(&message, 1);
    if (result < 0) return operation == Ring::Operation::send ? -errno : result;
    return static_cast<int>(operation == Ring::Operation::send ? message.msg_hdr.msg_iov->iov_len : message.msg_len);
  }

  static std::vector<Bytes> datagrams(const Endpoint& to) {
    std::vector<Bytes> result;
    for (const Message& m : taken) {
      const size_t step = m.segment_size == 0 ? m.bytes.size() : m.segment_size;
      for (size_t begin = 0; m.to.same_remote(to) && begin < m.bytes.size(); begin += step) {
        const size_t end = std::min(m.bytes.size(), begin + step);
        result.emplace_back(m.bytes.begin() + static_cast<ptrdiff_t>(begin),
                            m.bytes.begin() + static_cast<ptrdiff_t>(end));
      }
    }
    return result;
  }
};

class UdpSideFailureTest : public testing::TestWithParam<Engine> {
 protected:
  // Peer A has a sticky source, peer B has none, peer C is v6 and has one.
  const Endpoint a_ = endpoint("192.0.2.1:1", "192.0.2.100");
  const Endpoint b_ = endpoint("192.0.2.2:2");
  const Endpoint c_ = endpoint("[2001:db8::1]:3", "[2001:db8::100]");
  std::unique_ptr<UdpSockets> sockets_;
  std::unique_ptr<UdpSide> side_;
  FakeRing* ring_ = nullptr;  // the queue's, if it has one
  OutgoingRuns out_;

  UdpSideFailureTest() { restart(); }

  // A kernel that takes everything, new sockets, nothing to send.
  void restart() {
    const Syscalls& calls = FakeKernel::reset();
    out_ = {};
    open(calls);
  }

  void open(const Syscalls& calls) {
    side_.reset();
    sockets_ = open_sockets({}, calls);
    if (GetParam() == Engine::epoll) {
      side_ = std::make_unique<UdpSide>(*sockets_);
      return;
    }
    auto ring = std::make_unique<FakeRing>(FakeKernel::answer_entry);
    ring_ = ring.get();
    side_ = std::make_unique<UdpSide>(*sockets_,
                                      std::make_unique<RingTransfer>(std::move(ring), RingTransfer::For::sockets));
  }

  // The lengths of the datagrams in the next batch.
  std::vector<uint32_t> received_lengths() {
    const auto batch = std::make_unique<Received>();
    side_->receive(*batch);
    std::vector<uint32_t> lengths;
    for (const Datagram& datagram : std::span(batch->datagrams).first(batch->count)) lengths.push_back(datagram.length);
    side_->release(*batch);
    return lengths;
  }

  // Trains for all three peers by turns: 10 datagrams (short last one), then one, then 20.
  void add_trains() {
    for (const uint16_t datagrams : {10, 1, 20})
      for (const Endpoint& to : {a_, b_, c_}) out_.add(to, datagrams, 100, 60);
  }

  void expect_everything_arrived() {
    for (const Endpoint& to : {a_, b_, c_}) EXPECT_EQ(FakeKernel::datagrams(to), out_.datagrams(to)) << to_string(to);
    for (const OutgoingRun& train : out_.trains) EXPECT_EQ(train.datagrams_sent, train.datagrams);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), out_.total());
    EXPECT_EQ(side_->counters().send_errors.get(), 0u);
  }

  void expect_arrived_but_for(const Endpoint& lost) {
    for (const Endpoint& to : {a_, b_, c_})
      EXPECT_EQ(FakeKernel::datagrams(to), to == lost ? std::vector<Bytes>{} : out_.datagrams(to)) << to_string(to);
    uint64_t lost_datagrams = 0;
    for (const OutgoingRun& train : out_.trains) {
      EXPECT_EQ(train.datagrams_sent, train.to == lost ? 0 : train.datagrams);
      lost_datagrams += train.to == lost ? train.datagrams : 0;
    }
    EXPECT_EQ(side_->counters().send_errors.get(), lost_datagrams);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), out_.total() - lost_datagrams);
  }
};

TEST_P(UdpSideFailureTest, WithoutFailureEachFamilyIsOneCall) {
  add_trains();
  out_.send(*side_);
  expect_everything_arrived();
  EXPECT_EQ(ring_ != nullptr ? ring_->runs : FakeKernel::calls, 2u);
  EXPECT_EQ(FakeKernel::taken.size(), 9u);
  EXPECT_EQ(side_->counters().trains_sent.get(), 9u);
}

// What one kind of refusal leads to, for three trains to each of three peers.
struct RefusalCase {
  const char* name;
  std::function<int(const Message&)> verdict;
  uint64_t gso_downgrades;
  bool gso_active;                        // of the sockets, afterwards
  bool a_gso, a_source, c_gso, c_source;  // refused for the peer
  size_t refused_calls;
};

bool to_a(const Message& m) {
  return m.to.port == 1;
}

const RefusalCase kRefusalCases[] = {
    {"EIO for every train: the sockets stop at the first",
     [](const Message& m) { return m.segment_size != 0 ? EIO : 0; }, 1, false, false, false, false, false, 1},
    {"EIO for v6 alone stops v4 of the next batch too",
     [](const Message& m) { return m.segment_size != 0 && m.to.port == 3 ? EIO : 0; }, 1, false, false, false, false,
     false, 1},
    {"EMSGSIZE for one peer leaves the others alone",
     [](const Message& m) { return m.segment_size != 0 && to_a(m) ? EMSGSIZE : 0; }, 1, true, true, false, false, false,
     1},
    {"EINVAL for the source of one peer", [](const Message& m) { return to_a(m) && m.has_source() ? EINVAL : 0; }, 0,
     true, false, true, false, false, 1},
    {"EADDRNOTAVAIL for the source of one peer",
     [](const Message& m) { return to_a(m) && m.has_source() ? EADDRNOTAVAIL : 0; }, 0, true, false, true, false, false,
     1},
    {"EINVAL for the sources of both families", [](const Message& m) { return m.has_source() ? EINVAL : 0; }, 0, true,
     false, true, false, true, 2},
    {"EINVAL for the trains of one peer, whose source is good (before Linux 6.14)",
     [](const Message& m) { return m.segment_size != 0 && to_a(m) ? EINVAL : 0; }, 1, true, true, false, false, false,
     2},
    {"EINVAL for trains and for the source of one peer",
     [](const Message& m) { return to_a(m) && (m.segment_size != 0 || m.has_source()) ? EINVAL : 0; }, 1, true, true,
     true, false, false, 3},
    {"EMSGSIZE for one peer and EINVAL for its source",
     [](const Message& m) {
       return !to_a(m) ? 0 : m.has_source() ? EINVAL : m.segment_size != 0 ? EMSGSIZE : 0;
     },
     1, true, true, true, false, false, 2},
};

TEST_P(UdpSideFailureTest, WhatWasRefusedIsSentAgainWithLess) {
  for (const RefusalCase& c : kRefusalCases) {
    SCOPED_TRACE(c.name);
    restart();
    add_trains();
    FakeKernel::verdict = c.verdict;
    out_.send(*side_);
    for (const Endpoint& to : {a_, b_, c_}) EXPECT_EQ(FakeKernel::datagrams(to), out_.datagrams(to)) << to_string(to);
    for (const OutgoingRun& train : out_.trains) {
      const bool is_a = train.to == a_, is_c = train.to == c_;
      EXPECT_EQ(train.datagrams_sent, train.datagrams);
      EXPECT_EQ(train.gso_refused, (is_a && c.a_gso) || (is_c && c.c_gso));
      EXPECT_EQ(train.source_refused, (is_a && c.a_source) || (is_c && c.c_source));
    }
    const OuterCounters& counters = side_->counters();
    EXPECT_EQ(counters.gso_downgrades.get(), c.gso_downgrades);
    EXPECT_EQ(side_->state().gso_active, c.gso_active);
    EXPECT_EQ(counters.datagrams_sent.get(), out_.total());
    EXPECT_EQ(counters.send_errors.get(), 0u);
    EXPECT_EQ(FakeKernel::refused, c.refused_calls);

    // A caller who has learned, and sockets that have, are refused no more.
    for (OutgoingRun& train : out_.trains) {
      train.allow_gso = !train.gso_refused;
      train.to.source = train.source_refused ? Address{} : train.to.source;
    }
    out_.send(*side_);
    EXPECT_EQ(FakeKernel::refused, c.refused_calls);
    EXPECT_EQ(side_->counters().gso_downgrades.get(), c.gso_downgrades);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), 2 * out_.total());
  }
}

TEST_P(UdpSideFailureTest, AKernelThatTakes64DatagramsGetsNoMore) {
  // Each list is one batch for three peers, with the messages that it takes for one of them.
  const std::pair<std::vector<uint16_t>, size_t> kLists[] = {{{128, 40, 1}, 2 + 1 + 1},
                                                             {{65, 64, 40, 1}, 2 + 1 + 1 + 1}};
  for (const auto& [list, messages] : kLists) {
    restart();
    FakeKernel::verdict = [](const Message& m) { return m.datagrams() > 64 ? EINVAL : 0; };
    for (const Endpoint& to : {a_, b_, c_})
      for (const uint16_t datagrams : list) out_.add(to, datagrams, 100, 60);
    out_.send(*side_);
    expect_everything_arrived();
    EXPECT_EQ(sockets_->max_train_datagrams(), 64);
    EXPECT_TRUE(sockets_->gso_active());
    EXPECT_EQ(side_->counters().gso_downgrades.get(), 1u);
    EXPECT_EQ(FakeKernel::taken.size(), 3 * messages);
    for (const OutgoingRun& train : out_.trains) {
      EXPECT_FALSE(train.gso_refused);
      EXPECT_FALSE(train.source_refused);
    }
    for (const Message& message : FakeKernel::taken) EXPECT_EQ(message.has_source(), message.to.port != 2);
  }
}

TEST_P(UdpSideFailureTest, ATrainOfMoreBytesThanAMessageHoldsIsCut) {
  out_.add(b_, 100, 1400);
  out_.add(c_, 2, 65000);
  out_.send(*side_);
  expect_everything_arrived();
  EXPECT_EQ(FakeKernel::taken.size(), 3 + 2u);
}

TEST_P(UdpSideFailureTest, APartOfTheMessagesIsFollowedByTheRest) {
  for (const size_t most : {1, 2, 3, 5}) {
    SCOPED_TRACE(most);
    restart();
    add_trains();
    FakeKernel::most_per_call = most;
    out_.send(*side_);
    for (const Endpoint& to : {a_, b_, c_}) EXPECT_EQ(FakeKernel::datagrams(to), out_.datagrams(to)) << to_string(to);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), out_.total());
    EXPECT_EQ(FakeKernel::taken.size(), 9u);
  }
}

TEST_P(UdpSideFailureTest, ATrainIsRefusedHalfWay) {
  // Bytes by datagram, the fifth one meets a bad source.
  size_t count = 0;
  FakeKernel::verdict = [&](const Message& m) { return m.has_source() && count++ >= 4 ? EINVAL : 0; };
  out_.add(a_, 10, 100).allow_gso = false;
  out_.send(*side_);
  expect_everything_arrived();
  EXPECT_TRUE(out_.trains[0].source_refused);
  EXPECT_EQ(FakeKernel::taken.size(), 10u);
}

TEST_P(UdpSideFailureTest, AnInterruptedCallIsMadeAgain) {
  int interruptions = 5;
  FakeKernel::verdict = [&](const Message&) { return interruptions-- > 0 ? EINTR : 0; };
  add_trains();
  out_.send(*side_);
  expect_everything_arrived();
  EXPECT_EQ(FakeKernel::polls, 0);
}

TEST_P(UdpSideFailureTest, AFullBufferIsWaitedFor) {
  for (const int error : {EAGAIN, ENOBUFS}) {
    restart();
    add_trains();
    FakeKernel::verdict = [&](const Message&) {
      return FakeKernel::polls == 0 && FakeKernel::taken.size() == 1 ? error : 0;
    };
    out_.send(*side_);
    for (const Endpoint& to : {a_, b_, c_}) EXPECT_EQ(FakeKernel::datagrams(to), out_.datagrams(to)) << to_string(to);
    EXPECT_EQ(FakeKernel::polls, 1);
    EXPECT_EQ(side_->counters().send_stalls.get(), 0u);
    EXPECT_EQ(side_->counters().send_errors.get(), 0u);
  }
}

TEST_P(UdpSideFailureTest, ABufferThatStaysFullIsWaitedForOnceAndWhatDoesNotFitIsCounted) {
  for (const int error : {EAGAIN, ENOBUFS}) {
    restart();
    add_trains();
    FakeKernel::verdict = [&](const Message&) { return error; };
    FakeKernel::poll_result = 0;
    out_.send(*side_);
    EXPECT_EQ(FakeKernel::polls, 1);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), 0u);
    EXPECT_EQ(side_->counters().send_stalls.get(), out_.total());
    EXPECT_EQ(side_->counters().send_errors.get(), out_.total());

    // The next batch starts afresh.
    FakeKernel::verdict = [](const Message&) { return 0; };
    out_.send(*side_);
    EXPECT_EQ(side_->counters().datagrams_sent.get(), out_.total());
  }
}

TEST_P(UdpSideFailureTest, ABufferThatHasRoomAndRefusesAllTheSameIsWaitedForAFewTimesOnly) {
  FakeKernel::verdict = [](const Message&) { return ENOBUFS; };
  add_trains();
  out_.send(*side_);
  EXPECT_EQ(FakeKernel::polls, UdpSender::kMaxWaits);
  EXPECT_EQ(side_->counters().send_stalls.get(), out_.total());
}

TEST_P(UdpSideFailureTest, APeerThatCannotBeReachedCostsItsTrainsOnly) {
  for (const int error : {ENETUNREACH, EHOSTUNREACH, EPERM, ENETDOWN, EACCES, EAFNOSUPPORT, EINVAL, EIO, ENODEV}) {
    for (const Endpoint& lost : {a_, b_, c_}) {
      SCOPED_TRACE(testing::Message() << std::strerror(error) << " for " << to_string(lost));
      restart();
      add_trains();
      FakeKernel::verdict = [&](const Message& m) { return m.to.same_remote(lost) ? error : 0; };
      out_.send(*side_);
      uint64_t lost_datagrams = 0;
      for (const OutgoingRun& train : out_.trains) {
        EXPECT_EQ(train.datagrams_sent, train.to == lost ? 0 : train.datagrams);
        EXPECT_FALSE(train.source_refused) << "it was not the source";
        lost_datagrams += train.to == lost ? train.datagrams : 0;
      }
      EXPECT_EQ(side_->counters().send_errors.get(), lost_datagrams);
      EXPECT_EQ(side_->counters().datagrams_sent.get(), out_.total() - lost_datagrams);
      for (const Endpoint& to : {a_, b_, c_})
        EXPECT_EQ(FakeKernel::datagrams(to), to == lost ? std::vector<Bytes>{} : out_.datagrams(to));
      EXPECT_LE(side_->counters().gso_downgrades.get(), 1u);
    }
  }
}

TEST_P(UdpSideFailureTest, ADatagramThatIsTooLongIsDroppedAlone) {
  FakeKernel::verdict = [](const Message& m) { return m.bytes.size() >= 100 ? EMSGSIZE : 0; };
  out_.add(b_, 3, 100, 60);
  out_.send(*side_);
  EXPECT_EQ(out_.trains[0].datagrams_sent, 1) << "the last one is short enough";
  EXPECT_EQ(side_->counters().send_errors.get(), 2u);
  EXPECT_EQ(side_->counters().gso_downgrades.get(), 1u);
}

TEST_P(UdpSideFailureTest, AFamilyWithoutSocketCostsItsTrainsOnly) {
  const Syscalls& calls = FakeKernel::reset();
  FakeKernel::has_v6 = false;
  open(calls);
  add_trains();
  out_.send(*side_);
  expect_arrived_but_for(c_);
}

TEST_P(UdpSideFailureTest, WhateverHappensEveryDatagramIsSentOrCountedAndInOrder) {
  std::mt19937 random(20260101);
  const int kErrors[] = {EINTR, EAGAIN, ENOBUFS, EINVAL, EMSGSIZE, EIO, ENETUNREACH, EPERM, ENODEV, EFAULT};
  for (int round = 0; round < 300; ++round) {
    restart();
    const uint32_t one_in = 1 + random() % 8;
    FakeKernel::most_per_call = 1 + random() % 10;
    FakeKernel::poll_result = random() % 4 == 0 ? 0 : 1;
    FakeKernel::verdict = [&](const Message&) {
      return random() % (one_in + 1) == 0 ? kErrors[random() % std::size(kErrors)] : 0;
    };
    for (int i = 0; i < 20; ++i) {
      const Endpoint to[] = {a_, b_, c_};
      out_.add(to[random() % 3], static_cast<uint16_t>(1 + random() % 100), 100,
               static_cast<uint16_t>(1 + random() % 100));
    }
    out_.send(*side_);
    const OuterCounters& counters = side_->counters();
    ASSERT_EQ(counters.datagrams_sent.get() + counters.send_errors.get(), out_.total()) << round;
    uint64_t sent = 0;
    for (const OutgoingRun& train : out_.trains) sent += train.datagrams_sent;
    ASSERT_EQ(sent, counters.datagrams_sent.get()) << round;
    for (const Endpoint& to : {a_, b_, c_}) {
      const auto wanted = out_.datagrams(to), arrived = FakeKernel::datagrams(to);
      auto next = wanted.begin();
      for (const Bytes& datagram : arrived) {
        next = std::find(next, wanted.end(), datagram);
        ASSERT_NE(next, wanted.end()) << "out of order, twice, or made up, in round " << round;
        ++next;
      }
    }
  }
}

// Fills in received messages as recvmmsg(2) does.
void fill(mmsghdr& message, size_t length, int flags = 0, int gro_size = 0) {
  SocketAddress from{};
  from.v4.sin_family = AF_INET;
  from.v4.sin_port = htons(9);
  std::memcpy(message.msg_hdr.msg_name, &from, sizeof from.v4);
  message.msg_hdr.msg_namelen = sizeof from.v4;
  message.msg_hdr.msg_flags = flags;
  message.msg_len = static_cast<unsigned>(length);
  std::memset(message.msg_hdr.msg_iov->iov_base, 0x55, length);
  message.msg_hdr.msg_controllen = 0;
  if (gro_size != 0) {
    message.msg_hdr.msg_controllen = CMSG_SPACE(sizeof gro_size);
    cmsghdr* header = CMSG_FIRSTHDR(&message.msg_hdr);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_GRO;
    header->cmsg_len = CMSG_LEN(sizeof gro_size);
    std::memcpy(CMSG_DATA(header), &gro_size, sizeof gro_size);
  }
}

TEST_P(UdpSideFailureTest, APendingErrorIsCountedAndWhatComesBehindItReceived) {
  int calls = 0;
  FakeKernel::receive = [&](mmsghdr* messages, unsigned) {
    switch (++calls) {
      case 1:
        return -ECONNREFUSED;
      case 2:
        return -EINTR;
      case 3:
        fill(messages[0], 100);
        return 1;
      default:
        return -EAGAIN;
    }
  };
  EXPECT_EQ(received_lengths(), std::vector<uint32_t>{100});
  EXPECT_EQ(side_->counters().receive_errors.get(), 1u);
}

TEST_P(UdpSideFailureTest, ASocketThatOnlyFailsDoesNotHoldTheWorker) {
  FakeKernel::receive = [](mmsghdr*, unsigned) { return -ENOMEM; };
  EXPECT_TRUE(received_lengths().empty());
  EXPECT_GT(side_->counters().receive_errors.get(), 0u);
  EXPECT_LT(side_->counters().receive_errors.get(), 20u);
}

TEST_P(UdpSideFailureTest, OnlyWholeDatagramsAreHandedOn) {
  unsigned next = 0;
  FakeKernel::receive = [&](mmsghdr* messages, unsigned count) {
    unsigned filled = 0;
    for (; filled < count && next < 6; ++filled, ++next) {
      mmsghdr& message = messages[filled];
      switch (next) {
        case 0:
          fill(message, 65535, MSG_TRUNC);
          break;
        case 1:
          fill(message, 100);
          break;
        case 2:
          fill(message, 0);
          break;
        case 3:
          fill(message, 300, MSG_CTRUNC, 100);
          break;
        case 4:
          fill(message, 250, 0, 100);
          break;
        default:
          fill(message, 200, 0, 1000);
      }
    }
    return filled != 0 ? static_cast<int>(filled) : -EAGAIN;
  };
  EXPECT_EQ(received_lengths(), (std::vector<uint32_t>{100, 100, 100, 50, 200}))
      << "no segment is longer than its train";
  const OuterCounters& counters = side_->counters();
  EXPECT_EQ(counters.truncated.get(), 2u);
  EXPECT_EQ(counters.empty.get(), 1u);
  EXPECT_EQ(counters.trains_received.get(), 3u);
  EXPECT_EQ(counters.datagrams_received.get(), 1 + 3 + 1u);
}

INSTANTIATE_TEST_SUITE_P(Engines, UdpSideFailureTest, testing::Values(Engine::epoll, Engine::io_uring),
                         [](const auto& test) { return std::string(engine_name(test.param)); });

}  // namespace
}  // namespace culvert::io
