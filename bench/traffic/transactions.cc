#include "bench/traffic/transactions.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "bench/traffic/clock.h"
#include "bench/traffic/sockets.h"

namespace culvert::traffic {
namespace {

constexpr double kExpectedPerSecond = 100'000;
constexpr size_t kMaxReserved = 10'000'000;

io::Result<io::Fd> open_connection(const io::Endpoint& to) {
  auto socket = open_socket(to, SOCK_STREAM);
  if (!socket) return socket;
  if (io::Status set = set_timeouts(socket->get(), kTransactionTimeoutSeconds); !set) return set.error();
  if (auto set = set_option(socket->get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"); !set) return set.error();
  return socket;
}

// close() resets the connection, so that its port is free at once.
io::Status reset_on_close(int fd) {
  const linger now{1, 0};
  if (::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) != 0) return io::Error{errno, "set SO_LINGER"};
  return io::Success{};
}

io::Error failed_transfer(const char* what, ssize_t result, const io::Endpoint& to) {
  if (result == 0) return {0, io::to_string(to) + " has closed the connection"};
  const bool late = errno == EAGAIN || errno == EWOULDBLOCK;
  return {late ? ETIMEDOUT : errno, std::string(what) + io::to_string(to)};
}

// Sends the request and waits for all of its response. Long ones are in flight both ways at once.
io::Status exchange(int fd, std::vector<uint8_t>& bytes, const io::Endpoint& to) {
  size_t sent = 0;
  size_t received = 0;
  while (received < bytes.size()) {
    if (sent < bytes.size()) {
      const size_t piece = std::min(bytes.size() - sent, size_t{16384});
      const ssize_t count = ::send(fd, bytes.data() + sent, piece, MSG_NOSIGNAL);
      if (count <= 0) return failed_transfer("send to ", count, to);
      sent += static_cast<size_t>(count);
    }
    const ssize_t count = ::recv(fd, bytes.data() + received, sent - received, 0);
    if (count <= 0) return failed_transfer("wait for the answer of ", count, to);
    received += static_cast<size_t>(count);
  }
  return io::Success{};
}

// Every one starts with the socket there and ends with the last byte of its response; the reset comes after it.
io::Status transact_anew(const TransactionOptions& options, std::vector<uint8_t>& bytes, int64_t& ns) {
  auto socket = open_connection(options.to);
  if (!socket) return socket.error();
  if (io::Status set = reset_on_close(socket->get()); !set) return set;
  const int64_t start = now_ns();
  if (io::Status connected = connect_to(socket->get(), options.to); !connected) return connected;
  if (io::Status done = exchange(socket->get(), bytes, options.to); !done) return done;
  ns = now_ns() - start;
  return io::Success{};
}

}  // namespace

io::Result<TransactionResult> run_transactions(const TransactionOptions& options) {
  const double expected = std::min(options.seconds * kExpectedPerSecond, static_cast<double>(kMaxReserved));
  LatencySamples samples(static_cast<size_t>(expected));
  std::vector<uint8_t> bytes(options.bytes, 0x5a);
  io::Fd connection;
  if (!options.connect_each_time) {
    auto socket = open_connection(options.to);
    if (!socket) return socket.error();
    if (io::Status connected = connect_to(socket->get(), options.to); !connected) return connected.error();
    connection = std::move(*socket);
  }
  const auto transact = [&](int64_t& ns) -> io::Status {
    if (options.connect_each_time) return transact_anew(options, bytes, ns);
    const int64_t start = now_ns();
    io::Status done = exchange(connection.get(), bytes, options.to);
    ns = now_ns() - start;
    return done;
  };

  int64_t ns = 0;
  // The first one finds cold caches, and perhaps no handshake yet: it does not count.
  if (io::Status done = transact(ns); !done) return done.error();
  const int64_t start = now_ns();
  const int64_t end = start + static_cast<int64_t>(options.seconds * static_cast<double>(kSecond));
  while (now_ns() < end) {
    if (io::Status done = transact(ns); !done) return done.error();
    samples.add(ns);
  }
  return TransactionResult{samples.summarize(), seconds_of(now_ns() - start)};
}

}  // namespace culvert::traffic
