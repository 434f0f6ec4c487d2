// crowd COUNT KEY FILE: that many WireGuard peers on loopback, which answer every initiation of the device with that
// public key.
//
// Writes the peers to FILE, as `wg addconf` reads them, and prints "ready". Whenever a line comes on the standard input
// it prints what came until then, as one line of JSON; it ends with the standard input.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "src/device/encoding.h"
#include "src/pipeline/clock.h"
#include "tests/traffic/crowd.h"

namespace culvert {
namespace {

constexpr size_t kMaxPeers = 65536;

bool write_peers(const char* path, const traffic::Crowd& crowd) {
  std::ofstream file(path);
  for (size_t n = 0; n < crowd.size(); ++n) {
    file << "[Peer]\nPublicKey = " << device::to_base64(crowd.public_key(n).bytes)
         << "\nEndpoint = " << crowd.endpoint(n) << "\nPersistentKeepalive = 25\n";
  }
  file.close();
  return !file.fail();
}

void report(const traffic::Crowd& crowd) {
  traffic::Crowd::Calls all;
  size_t silent = 0, confirmed = 0;
  for (size_t n = 0; n < crowd.size(); ++n) {
    const traffic::Crowd::Calls& one = crowd.calls(n);
    all.initiations += one.initiations;
    all.cookie_replies += one.cookie_replies;
    all.others += one.others;
    silent += one.initiations == 0;
    confirmed += one.keepalives > 0;
  }
  std::printf("{\"initiations\": %u, \"silent\": %zu, \"confirmed\": %zu, \"cookie_replies\": %u, \"others\": %u}\n",
              all.initiations, silent, confirmed, all.cookie_replies, all.others);
  std::fflush(stdout);
}

int serve(traffic::Crowd& crowd) {
  for (;;) {
    std::array<pollfd, 2> waiting{{{STDIN_FILENO, POLLIN, 0}, {crowd.fd(), POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0) return 1;
    (void)crowd.answer(pipeline::read_boot_clock());
    if (waiting[0].revents == 0) continue;
    char byte = 0;
    if (::read(STDIN_FILENO, &byte, 1) != 1) return 0;
    if (byte == '\n') report(crowd);
  }
}

int run(int argc, char** argv) {
  const size_t count = argc == 4 ? std::strtoul(argv[1], nullptr, 10) : 0;
  const auto key = argc == 4 ? device::key_from_base64(argv[2]) : std::nullopt;
  if (count == 0 || count > kMaxPeers || !key) {
    std::fputs("crowd: usage: crowd COUNT KEY FILE, COUNT from 1 to 65536, KEY as `wg pubkey` prints it\n", stderr);
    return 2;
  }
  traffic::Crowd crowd(count, protocol::PublicKey{*key});
  if (!write_peers(argv[3], crowd)) {
    std::perror("crowd: write the peers");
    return 1;
  }
  std::puts("ready");
  std::fflush(stdout);
  return serve(crowd);
}

}  // namespace
}  // namespace culvert

int main(int argc, char** argv) {
  return culvert::run(argc, argv);
}
