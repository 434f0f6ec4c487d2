// UdpSide where the real kernel refuses: in a network namespace of its own, with no route, with a small MTU,
// and with addresses that go away.
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include "io/udp_message.h"
#include "tests/io/loopback.h"

namespace culvert::io {
namespace {

// Runs `body` on a thread in a new network namespace, which ends with the thread and its sockets. False
// without the right to make one (CAP_SYS_ADMIN).
bool in_new_namespace(const std::function<void()>& body) {
  bool allowed = false;
  std::thread thread([&] {
    allowed = unshare(CLONE_NEWNET) == 0;
    if (allowed) body();
  });
  thread.join();
  return allowed;
}

// Changes a network interface by ioctl, in the namespace of the calling thread.
class Loopback {
 public:
  void up() {
    request_.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    call(SIOCSIFFLAGS, "lo");
  }
  void mtu(int bytes) {
    request_.ifr_mtu = bytes;
    call(SIOCSIFMTU, "lo");
  }
  void add_alias(const char* address) {
    SocketAddress socket_address{};
    to_socket_address(endpoint(std::string(address) + ":0").remote, 0, 0, socket_address);
    std::memcpy(&request_.ifr_addr, &socket_address.v4, sizeof socket_address.v4);
    call(SIOCSIFADDR, "lo:1");
  }
  void remove_alias() {
    request_.ifr_flags = 0;
    call(SIOCSIFFLAGS, "lo:1");
  }

 private:
  void call(unsigned long code, const char* name) {
    std::strncpy(request_.ifr_name, name, sizeof request_.ifr_name - 1);
    EXPECT_EQ(ioctl(socket_.get(), code, &request_), 0) << name << ": " << std::strerror(errno);
    request_ = {};
  }

  Fd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request_{};
};

#define IN_NEW_NAMESPACE(...) \
  if (!in_new_namespace(__VA_ARGS__)) GTEST_SKIP() << "needs the right to make network namespaces (root)";

class UdpSideNamespaceTest : public WithEngines {};
INSTANTIATE_WITH_ENGINES(UdpSideNamespaceTest);

TEST_P(UdpSideNamespaceTest, NoRouteIsCountedAndPassesWithTheRoute) {
  IN_NEW_NAMESPACE([] {
    End from, to;
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      OutgoingRuns out;
      out.add(to.at(host), 3, 100);
      out.send(from.side);
      EXPECT_EQ(out.trains[0].datagrams_sent, 0);
    }
    EXPECT_EQ(from.side.counters().send_errors.get(), 6u);
    Loopback().up();
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      OutgoingRuns out;
      out.add(to.at(host), 3, 100);
      out.send(from.side);
      EXPECT_EQ(bytes_of(to.receive(3)), out.datagrams(to.at(host)));
    }
  });
}

TEST_P(UdpSideNamespaceTest, APathTooSmallForTheSegmentsGetsFragments) {
  IN_NEW_NAMESPACE([] {
    Loopback loopback;
    loopback.mtu(1280);
    loopback.up();
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      End from, to;
      OutgoingRuns out;
      for (int i = 0; i < 3; ++i) out.add(to.at(host), 10, 1400, 50);
      out.add(to.at(host), 1, 9000);
      out.send(from.side);
      EXPECT_EQ(bytes_of(to.receive(out.total())), out.datagrams(to.at(host))) << host;
      for (const OutgoingRun& train : out.trains) {
        EXPECT_EQ(train.datagrams_sent, train.datagrams);
        EXPECT_EQ(train.gso_refused, true) << "known of the endpoint from the first train on";
        EXPECT_FALSE(train.source_refused);
      }
      EXPECT_EQ(from.side.counters().gso_downgrades.get(), 1u);
      EXPECT_TRUE(from.sockets->gso_active());

      // Segments that fit still go by train.
      OutgoingRuns small;
      small.add(to.at(host), 10, 1200);
      small.send(from.side);
      EXPECT_FALSE(small.trains[0].gso_refused);
      EXPECT_EQ(bytes_of(to.receive(10)), small.datagrams(to.at(host)));
    }
  });
}

TEST_P(UdpSideNamespaceTest, ASourceThatIsRemovedFromTheHostIsForgotten) {
  IN_NEW_NAMESPACE([] {
    Loopback loopback;
    loopback.up();
    loopback.add_alias("198.51.100.1");
    End a, b;
    OutgoingRuns question;
    question.add(b.at("198.51.100.1"), 2, 100);
    question.send(a.side);
    Endpoint asker = b.receive(2)[0].envelope.endpoint;
    EXPECT_EQ(asker.source, endpoint("198.51.100.1:0").remote);
    asker.remote = endpoint("127.0.0.1:0").remote;

    for (const bool removed : {false, true}) {
      if (removed) loopback.remove_alias();
      OutgoingRuns answer;
      answer.add(asker, 2, 100);
      answer.send(b.side);
      EXPECT_EQ(answer.trains[0].source_refused, removed);
      EXPECT_EQ(a.receive(2)[0].envelope.endpoint.remote, endpoint(removed ? "127.0.0.1:0" : "198.51.100.1:0").remote);
    }
  });
}

TEST_P(UdpSideNamespaceTest, SmallBuffersLoseNothingOnSendThatIsNotCounted) {
  IN_NEW_NAMESPACE([] {
    Loopback().up();
    End from({.send_buffer_bytes = 4096}), to;
    OutgoingRuns out;
    for (int i = 0; i < 50; ++i) out.add(to.at("127.0.0.1"), 10, 1400);
    out.send(from.side);
    const OuterCounters& counters = from.side.counters();
    EXPECT_EQ(counters.datagrams_sent.get() + counters.send_errors.get(), out.total());
    EXPECT_EQ(counters.send_errors.get(), counters.send_stalls.get());
    EXPECT_EQ(bytes_of(to.receive(counters.datagrams_sent.get())).size(), counters.datagrams_sent.get());
  });
}

}  // namespace
}  // namespace culvert::io
