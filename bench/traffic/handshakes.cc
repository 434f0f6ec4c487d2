#include "bench/traffic/handshakes.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <vector>

#include "bench/traffic/clock.h"
#include "bench/traffic/initiator.h"
#include "bench/traffic/sockets.h"
#include "src/device/encoding.h"

namespace culvert::traffic {
namespace {

// Peer i has 10.90.x.y/32, x and y being the bytes of i.
io::Status write_peers(const std::string& path, const std::vector<Initiator>& initiators) {
  std::ofstream file(path);
  for (size_t i = 0; i < initiators.size(); ++i) {
    file << "[Peer]\nPublicKey = " << device::to_base64(initiators[i].identity().public_key().bytes)
         << "\nAllowedIPs = 10.90." << i / 256 << '.' << i % 256 << "/32\n\n";
  }
  file.close();
  if (!file) return io::Error{errno, "write " + path};
  return io::Success{};
}

io::Result<io::Endpoint> read_start() {
  std::string line;
  if (!std::getline(std::cin, line)) return io::Error{0, "the standard input has ended without `go ADDR PORT`"};
  std::istringstream words(line);
  std::string go, address, rest;
  uint16_t port = 0;
  if (!(words >> go >> address >> port) || go != "go" || port == 0 || words >> rest)
    return io::Error{0, "expected `go ADDR PORT` on the standard input, not '" + line + "'"};
  const auto server = parse_address(address, port);
  if (!server) return io::Error{0, "'" + address + "' is no IP address"};
  return *server;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

io::Result<HandshakeResult> run_handshakes(const HandshakeOptions& options) {
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  std::vector<Initiator> initiators;
  initiators.reserve(options.peers);
  for (uint32_t i = 0; i < options.peers; ++i)
    if (!initiators.emplace_back(options.server).prepare())
      return io::Error{0, "--key-of-server is no key that handshakes are possible with"};
  if (io::Status written = write_peers(options.config_path, initiators); !written) return written.error();
  std::puts("ready");
  std::fflush(stdout);
  const auto server = read_start();
  if (!server) return server.error();

  auto player = HandshakePlayer::open(initiators, *server, options.sources, options.window);
  if (!player) return player.error();
  if (io::Status proven = (*player)->prove(); !proven) return proven.error();
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  const auto counts = (*player)->play(options.seconds);
  if (!counts) return counts.error();
  return HandshakeResult{*counts, seconds_of(now_ns() - start), cpu_seconds() - cpu_before};
}

}  // namespace culvert::traffic
