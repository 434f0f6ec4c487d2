// Two WireGuard peers in one program, over UDP sockets of its own: one sends a packet through the tunnel, the other sends
// it back. Neither an interface nor root is needed. To build it:
//   cmake -S . -B build && cmake --build build && build/example
//   c++ -std=c++20 main.cc $(pkg-config --cflags --libs culvert) -o example && ./example
#include <arpa/inet.h>
#include <culvert/embedded/peer.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

using culvert::embedded::Bytes, culvert::embedded::Key, culvert::embedded::Moment, culvert::embedded::Output;

namespace {

Moment read_clocks() {
  const auto read = [](clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  };
  return {read(CLOCK_BOOTTIME), read(CLOCK_REALTIME)};
}

Key random_key() {
  Key key;
  if (getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) std::abort();
  return key;
}

// An IPv4 packet of a protocol without ports, from 10.0.0.from to 10.0.0.to. WireGuard does not look at its checksum.
Bytes make_packet(uint8_t from, uint8_t to, std::string_view text) {
  const auto length = static_cast<uint8_t>(20 + text.size());
  Bytes packet = {0x45, 0, 0, length, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, from, 10, 0, 0, to};
  packet.insert(packet.end(), text.begin(), text.end());
  return packet;
}

// A peer with its socket. Where the other end is, it learns from what it receives.
struct End {
  int fd = -1;
  sockaddr_in other{};
  std::unique_ptr<culvert::embedded::Peer> peer;

  void transmit(const Output& output) const {
    for (const Bytes& datagram : output.datagrams)
      sendto(fd, datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&other), sizeof other);
  }

  // The packets that came.
  std::vector<Bytes> receive() {
    uint8_t buffer[65536];
    sockaddr_in from{};
    socklen_t from_length = sizeof from;
    const ssize_t length =
        recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &from_length);
    Output output;
    if (length > 0 && peer->receive({buffer, static_cast<size_t>(length)}, read_clocks(), output) ==
                          culvert::embedded::Verdict::accepted)
      other = from;
    peer->advance(read_clocks(), output);
    transmit(output);
    return output.packets;
  }
};

End open_end(const Key& private_key, const Key& other_key) {
  End end;
  end.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  if (end.fd < 0 || bind(end.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  Output output;
  end.peer = make_peer({.private_key = private_key, .public_key = other_key}, read_clocks(), output);
  if (end.peer == nullptr) std::abort();
  return end;
}

int milliseconds_until_due(const End& end) {
  const auto deadline = end.peer->next_deadline();
  if (!deadline) return 1000;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - read_clocks().since_boot);
  return static_cast<int>(std::clamp<int64_t>(left.count() + 1, 0, 1000));
}

}  // namespace

int main() {
  const Key left_key = random_key(), right_key = random_key();
  End left = open_end(left_key, culvert::embedded::public_key_of(right_key));
  End right = open_end(right_key, culvert::embedded::public_key_of(left_key));
  socklen_t length = sizeof left.other;
  getsockname(right.fd, reinterpret_cast<sockaddr*>(&left.other), &length);

  Output output;
  left.peer->send(make_packet(1, 2, "is anybody there?"), read_clocks(), output);
  left.transmit(output);
  for (;;) {
    pollfd ready[] = {{left.fd, POLLIN, 0}, {right.fd, POLLIN, 0}};
    poll(ready, 2, std::min(milliseconds_until_due(left), milliseconds_until_due(right)));
    for (const Bytes& packet : right.receive()) {
      Output answer;
      right.peer->send(make_packet(2, 1, std::string(packet.begin() + 20, packet.end()) + " yes"), read_clocks(),
                       answer);
      right.transmit(answer);
    }
    for (const Bytes& packet : left.receive()) {
      std::printf("%.*s\n", static_cast<int>(packet.size() - 20), reinterpret_cast<const char*>(&packet[20]));
      close(left.fd);
      close(right.fd);
      return 0;
    }
  }
}
