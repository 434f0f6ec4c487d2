// Two ends of a loopback path in tests.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/udp_side.h"
#include "io/uring/ring_transfer.h"
#include "tests/io/outgoing.h"

namespace culvert::io {

// A received datagram, copied out of the side's memory.
struct Arrived {
  Bytes bytes;
  Envelope envelope;
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

// Sockets with their side.
struct End {
  explicit End(const UdpOptions& options = {})
      : sockets(open_sockets(options)), side(*sockets, WithEngines::transfer()) {}

  // How the other end reaches this one through address `host`.
  Endpoint at(const std::string& host, size_t port_index = 0) const {
    return endpoint(host + ':' + std::to_string(sockets->ports()[port_index]));
  }

  // What is there now. No more than one batch.
  std::vector<Arrived> receive_batch() {
    std::vector<Arrived> result;
    side.receive(*batch);
    for (const Datagram& datagram : std::span(batch->datagrams).first(batch->count)) {
      result.push_back(
          {Bytes(datagram.bytes, datagram.bytes + datagram.length), batch->envelopes.at(datagram.envelope)});
      EXPECT_LT(sockets->index_of(result.back().envelope.local_port), sockets->ports().size());
    }
    // The tailroom behind the last one is ours to write to.
    if (batch->count != 0) {
      const Datagram& last = batch->datagrams[batch->count - 1];
      if (!batch->more) std::fill_n(last.bytes + last.length, kTailroom, uint8_t{0xee});
    }
    side.release(*batch);
    return result;
  }

  // Receives until there are `datagrams`; what was sent on loopback is there or comes soon.
  std::vector<Arrived> receive(size_t datagrams) {
    std::vector<Arrived> result;
    while (result.size() < datagrams) {
      std::vector<pollfd> waiting;
      for (const int fd : side.poll_fds()) waiting.push_back({fd, POLLIN, 0});
      if (!batch->more && ::poll(waiting.data(), waiting.size(), 20'000) <= 0) {
        ADD_FAILURE() << datagrams - result.size() << " datagrams have not come";
        break;
      }
      for (Arrived& one : receive_batch()) result.push_back(std::move(one));
    }
    return result;
  }

  std::unique_ptr<Received> batch = std::make_unique<Received>();
  std::unique_ptr<UdpSockets> sockets;
  UdpSide side;
};

inline std::vector<Bytes> bytes_of(const std::vector<Arrived>& all) {
  std::vector<Bytes> result;
  for (const Arrived& one : all) result.push_back(one.bytes);
  return result;
}

}  // namespace culvert::io
