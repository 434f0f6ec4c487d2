// Which system calls move packets between a queue and the kernel. Waiting is the Poller's in either case.
//
// `automatic` is `epoll` on both sides: the plain calls were faster at every batch size on the machine that was measured
// (AMD Zen 5, 2 cores, Linux 6.18), because a system call costs less there than what io_uring does for each entry.
// Nanoseconds per packet of 64 bytes, batches of 1 / 4 / 16, with io_uring at its best (registered file, deferred task
// work, no links): TUN read 742 / 468 / 429 against 971 / 598 / 513; TUN write 1502 / 1427 / 1391 against
// 1852 / 1568 / 1466; UDP send 2724 / 2519 / 2477 against 2954 / 2734 / 2662; UDP receive 912 / 624 / 603 against
// 1102 / 758 / 714. Where a system call is dearer (page-table isolation, an audit or seccomp filter), it may be worth
// trying the other one.
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
