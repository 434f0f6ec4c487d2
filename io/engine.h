// Which system calls move packets between a queue and the kernel. Waiting is the Poller's in either case.
//
// `automatic` is `epoll` on both sides. On the machine that was measured (AMD Zen 5, 2 cores, Linux 6.18) a system call
// costs less than what io_uring does for each entry, at every batch size. Nanoseconds per packet of 64 bytes in batches
// of 1 / 4 / 16, with io_uring at its best (registered file, deferred task work, no links):
//   TUN read     742 /  468 /  429   by io_uring   971 /  598 /  513
//   TUN write   1502 / 1427 / 1391                1852 / 1568 / 1466
//   UDP send    2724 / 2519 / 2477                2954 / 2734 / 2662
//   UDP receive  912 /  624 /  603                1102 /  758 /  714
// Through a tunnel the difference drowns: medians of 5 rounds of tools/lab (3 for TCP), epoll / TUN by io_uring / UDP
// by io_uring / both:
//   UDP, 64 bytes, thousands per second        354 /  314 /  337 /  344
//   the same with UDP_SEGMENT                 5865 / 6094 / 5801 / 5782
//   request and response, median, us          82.9 / 84.9 / 85.3 / 88.9
//   TCP, 1 flow, wire MTU 1500, Gb/s          9.42 / 9.27 / 9.23 / 8.28
//   TCP, 1 flow, wire MTU 9000, Gb/s          9.83 / 10.2 / 10.5 / 10.7
// Where a system call is dearer (page-table isolation, a long seccomp filter), io_uring may be worth trying.
#pragma once

#include <cstdint>
#include <string_view>

namespace culvert::io {

// epoll: read and writev, recvmmsg and sendmmsg. io_uring: one io_uring_enter for a batch.
enum class Engine : uint8_t { automatic, epoll, io_uring };

// The engine that `wanted` stands for: never `automatic`.
constexpr Engine chosen_engine(Engine wanted) {
  return wanted == Engine::automatic ? Engine::epoll : wanted;
}

// "auto", "epoll" or "io_uring", as the environment and the metrics say it.
constexpr std::string_view engine_name(Engine engine) {
  return engine == Engine::automatic ? "auto" : engine == Engine::epoll ? "epoll" : "io_uring";
}

}  // namespace culvert::io
