// Which system calls move packets between a side and the kernel. Waiting is the Poller's in either case.
//
// `automatic` is `epoll` on both sides: a system call costs less than what io_uring does for each entry, at every batch
// size, and through a tunnel the difference drowns (bench/RESULTS.md). Where a system call is dearer (page-table
// isolation, a long seccomp filter), io_uring may be worth trying.
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
