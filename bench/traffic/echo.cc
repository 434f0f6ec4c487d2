#include "bench/traffic/echo.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <unordered_map>
#include <vector>

#include "bench/traffic/end_signal.h"
#include "bench/traffic/sockets.h"
#include "io/poller.h"

namespace culvert::traffic {
namespace {

constexpr int kBacklog = 1024;
constexpr size_t kBufferBytes = 65536;

// Tags are descriptors.
class EchoServer {
 public:
  static io::Result<EchoServer> open(const io::Endpoint& bind, io::Poller& poller) {
    auto listener = open_bound(bind, SOCK_STREAM | SOCK_NONBLOCK);
    if (!listener) return listener.error();
    // Connections inherit it.
    if (auto set = set_option(listener->get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"); !set) return set.error();
    if (::listen(listener->get(), kBacklog) != 0) return io::Error{errno, "listen on " + io::to_string(bind)};
    if (io::Status added = poller.add(listener->get(), tag_of(listener->get())); !added) return added.error();
    return EchoServer(std::move(*listener), poller);
  }

  void serve(uint64_t tag) {
    const int fd = static_cast<int>(tag);
    if (fd == listener_.get())
      accept_all();
    else
      echo(fd);
  }

 private:
  EchoServer(io::Fd listener, io::Poller& poller)
      : listener_(std::move(listener)), poller_(&poller), buffer_(kBufferBytes) {}

  static uint64_t tag_of(int fd) { return static_cast<uint64_t>(fd); }

  void accept_all() {
    for (;;) {
      io::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return;
      const int fd = connection.get();
      if (!poller_->add(fd, tag_of(fd))) continue;
      connections_[fd] = std::move(connection);
      echo(fd);  // the request may have come with the handshake's end
    }
  }

  // Answers wait for room: peers have few requests under way.
  void echo(int fd) {
    const ssize_t count = ::recv(fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0 || ::send(fd, buffer_.data(), static_cast<size_t>(count), MSG_NOSIGNAL) != count)
      connections_.erase(fd);
  }

  io::Fd listener_;
  io::Poller* poller_;
  std::vector<uint8_t> buffer_;
  std::unordered_map<int, io::Fd> connections_;
};

constexpr uint64_t kSignalTag = UINT64_MAX;

}  // namespace

io::Status run_echo(const io::Endpoint& bind) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto end = EndSignal::open(*poller, kSignalTag);
  if (!end) return end.error();
  auto server = EchoServer::open(bind, *poller);
  if (!server) return server.error();
  std::puts("ready");
  std::fflush(stdout);
  std::array<io::PollEvent, 64> events;
  for (;;) {
    for (const io::PollEvent& event : poller->wait(events)) {
      if (event.tag == kSignalTag) return io::Success{};
      server->serve(event.tag);
    }
  }
}

}  // namespace culvert::traffic
