// Two ends of a loopback path in tests.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/udp_queue.h"
#include "io/uring/ring_transfer.h"
#include "tests/io/outgoing.h"

namespace culvert::io {

// A received train, copied out of the queue's memory.
struct Received {
  Datagram bytes;
  IncomingTrain train;

  size_t datagrams() const { return (bytes.size() + train.segment_size - 1) / train.segment_size; }
};

// Tests that run with every engine; the ends that they make use the one whose turn it is.
class WithEngines : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (const auto ring = Ring::open(); GetParam() == Engine::io_uring && !ring) GTEST_SKIP() << ring.error().text();
    engine = GetParam();
  }

 public:
  static inline Engine engine = Engine::epoll;

  static std::unique_ptr<Transfer> transfer() {
    if (engine == Engine::epoll) return std::make_unique<SocketTransfer>(kernel_syscalls());
    auto ring = Ring::open();
    EXPECT_TRUE(ring);
    return std::make_unique<RingTransfer>(std::move(*ring), RingTransfer::For::sockets);
  }
};

#define INSTANTIATE_WITH_ENGINES(suite)                                                      \
  INSTANTIATE_TEST_SUITE_P(Engines, suite, testing::Values(Engine::epoll, Engine::io_uring), \
                           [](const auto& test) { return std::string(engine_name(test.param)); })

// Sockets with their queue.
struct End {
  explicit End(const UdpOptions& options = {})
      : sockets(open_sockets(options)), queue(*sockets, WithEngines::transfer()) {}

  // How the other end reaches this one through address `host`.
  Endpoint at(const std::string& host) const { return endpoint(host + ':' + std::to_string(sockets->port())); }

  // Receives trains until there are `datagrams`; what was sent on loopback is there or comes soon.
  std::vector<Received> receive(size_t datagrams) {
    std::vector<Received> result;
    IncomingTrain trains[UdpReceiver::kBuffers];
    while (datagrams > 0) {
      const auto fds = queue.poll_fds();
      pollfd waiting[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
      if (::poll(waiting, 2, 20'000) <= 0) {
        ADD_FAILURE() << datagrams << " datagrams have not come";
        break;
      }
      const size_t count = queue.receive_batch(trains);
      for (size_t i = 0; i < count; ++i) {
        const IncomingTrain& train = trains[i];
        result.push_back({Datagram(train.bytes, train.bytes + train.length), train});
        // The tailroom is ours to write to.
        std::fill_n(train.bytes + train.length, OuterQueue::kReceiveTailroom, uint8_t{0xee});
        datagrams -= std::min(datagrams, result.back().datagrams());
      }
    }
    return result;
  }

  std::unique_ptr<UdpSockets> sockets;
  UdpQueue queue;
};

// The datagrams that the trains hold.
inline std::vector<Datagram> split(const std::vector<Received>& trains) {
  std::vector<Datagram> result;
  for (const Received& received : trains) {
    for (size_t begin = 0; begin < received.bytes.size(); begin += received.train.segment_size) {
      const size_t end = std::min(received.bytes.size(), begin + received.train.segment_size);
      result.emplace_back(received.bytes.begin() + static_cast<ptrdiff_t>(begin),
                          received.bytes.begin() + static_cast<ptrdiff_t>(end));
    }
  }
  return result;
}

}  // namespace culvert::io
