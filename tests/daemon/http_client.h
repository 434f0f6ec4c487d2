// HTTP clients of a MetricsServer in the same thread: what they wait for, they get by turning its loop.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "io/fd.h"
#include "src/daemon/metrics_server.h"
#include "src/pipeline/clock.h"

namespace culvert::daemon::test {

inline io::Endpoint loopback(uint16_t port) {
  io::Endpoint endpoint;
  EXPECT_TRUE(io::parse_endpoint("127.0.0.1:" + std::to_string(port), endpoint));
  return endpoint;
}

inline Pieces one_piece(std::string text) {
  return [text = std::move(text)]() mutable { return std::exchange(text, ""); };
}

// How a text arrives that is sent while it is made, if it is a piece.
inline std::string chunked(const std::string& text) {
  return fmt::format("{:X}\r\n{}\r\n0\r\n\r\n", text.size(), text);
}

// A server on loopback with its event loop.
class Served {
 public:
  Served() {
    auto opened =
        MetricsServer::open({.endpoint = loopback(0)}, {.metrics =
                                                            [this] {
                                                              ++rendered;
                                                              return pieces ? pieces : one_piece(page);
                                                            },
                                                        .health = [] { return std::string("ok\nlink up\n"); }});
    EXPECT_TRUE(opened) << opened.error().text();
    server = std::move(*opened);
  }

  // Whether there is anything to do, now or within `wait_ms`.
  bool has_work(int wait_ms = 0) const {
    pollfd readable{server->fd(), POLLIN, 0};
    return ::poll(&readable, 1, wait_ms) > 0;
  }
  void turn() {
    ++turns;
    server->handle_events(now);
  }
  // Until there is nothing to do.
  void settle() {
    while (has_work()) turn();
  }
  void pass(std::chrono::milliseconds time) {
    now += time;
    turn();
    settle();
  }

  std::string page = "culvert_up 1\n";
  Pieces pieces;  // instead of the page
  int rendered = 0, turns = 0;
  protocol::Instant now = pipeline::read_boot_clock();
  std::unique_ptr<MetricsServer> server;
};

class HttpClient {
 public:
  // Connects from `from`, an address of loopback.
  explicit HttpClient(Served& served, const char* from = "127.0.0.1", int receive_buffer_bytes = 0)
      : served_(served), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    EXPECT_TRUE(fd_) << std::strerror(errno);
    if (receive_buffer_bytes != 0)
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, from, &address.sin_addr);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    address.sin_port = htons(served.server->port());
    // On loopback a connection is there when connect() returns, if the backlog has room.
    const int connected = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    EXPECT_TRUE(connected == 0 || errno == EINPROGRESS) << std::strerror(errno);
    served_.settle();
  }

  // Sends all of it, or as much as the server lets us. False when it closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0 && !wait(POLLOUT)) return false;
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    }
    served_.settle();
    return true;
  }

  // What came so far, at least up to `end` or the end of the connection.
  std::string receive_until(std::string_view end) {
    while (received_.find(end) == std::string::npos && receive_some()) {
    }
    return received_;
  }
  std::string receive_all() {
    while (receive_some()) {
    }
    return received_;
  }
  // One read: false at the end of the connection.
  bool receive_some() {
    std::array<char, 4096> buffer;
    for (;;) {
      const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
      if (got >= 0) return got > 0;
      if (errno != EAGAIN || !wait(POLLIN)) return false;
    }
  }
  std::string request(std::string_view text, std::string_view end) {
    received_.clear();
    return send(text) ? receive_until(end) : received_;
  }

  // Whether the server has closed the connection and there is nothing left to read.
  bool closed() {
    char byte = 0;
    const ssize_t got = ::recv(fd_.get(), &byte, 1, MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN);
  }

 private:
  // Turns the server's loop until the socket is ready.
  bool wait(short events) {
    for (;;) {
      std::array<pollfd, 2> ready = {{{served_.server->fd(), POLLIN, 0}, {fd_.get(), events, 0}}};
      if (::poll(ready.data(), ready.size(), 30'000) <= 0) {
        ADD_FAILURE() << "the server does nothing more";
        return false;
      }
      if (ready[0].revents != 0) served_.turn();
      if (ready[1].revents != 0) return true;
    }
  }

  Served& served_;
  io::Fd fd_;
  std::string received_;
};

inline constexpr std::string_view kGet = "GET /metrics HTTP/1.1\r\nHost: culvert\r\n\r\n";

}  // namespace culvert::daemon::test
