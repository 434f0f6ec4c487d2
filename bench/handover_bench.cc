// What a batch costs beside its packets: waking up for it, handing it to another core, and words that several cores
// write. tools/scale-sim takes its defaults from here.
//
// `wake_up` is epoll_wait, a read and a write on one thread. `handover` wakes a sleeping thread on another core and
// waits for its answer: CPU time that each of the two spends on each way. `shared_line` passes a cache line to a
// spinning thread and back: the time of one way. An iteration is kTurns of it, and `least` is one turn of the best
// iteration, which others that use the cores disturb the least.
#include <benchmark/benchmark.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <thread>

#include "bench/main.h"
#include "io/fd.h"

namespace culvert::bench {
namespace {

// An eventfd and an epoll set to wait for it.
class Bell {
 public:
  Bell() : bell_(eventfd(0, EFD_CLOEXEC)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event = {.events = EPOLLIN, .data = {}};
    ready_ = epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event) == 0;
  }
  [[nodiscard]] bool ready() const { return ready_; }

  void ring(uint64_t number = 1) { ready_ = write(bell_.get(), &number, sizeof number) == sizeof number && ready_; }
  uint64_t wait() {
    epoll_event event = {};
    uint64_t number = 0;
    ready_ = epoll_wait(epoll_.get(), &event, 1, -1) == 1 &&
             read(bell_.get(), &number, sizeof number) == sizeof number && ready_;
    return number;
  }

 private:
  io::Fd bell_, epoll_;
  bool ready_;
};

cpu_set_t process_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  return cpus;
}

// Puts the thread on the CPU with this number among those that the process might use at first.
bool stay_on(int number) {
  static const cpu_set_t allowed = process_cpus();
  cpu_set_t one;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      return pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0;
    }
  return false;
}

constexpr int kTurns = 100;

double seconds(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Takes kTurns turns an iteration; `parts` is how many times a turn has in it what is measured.
template <typename Turn>
void time_turns(benchmark::State& state, clockid_t clock, int parts, Turn turn) {
  double least = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const double start = seconds(clock);
    for (int i = 0; i < kTurns; ++i) turn();
    const double spent = seconds(clock) - start;
    state.SetIterationTime(spent);
    least = std::min(least, spent / (kTurns * parts));
  }
  state.counters["least"] = benchmark::Counter(least);
}

void wake_up(benchmark::State& state) {
  Bell bell;
  time_turns(state, CLOCK_THREAD_CPUTIME_ID, 1, [&] {
    bell.ring();
    bell.wait();
  });
  if (!bell.ready()) state.SkipWithError("no eventfd");
}

// Two threads, each on a core of its own: `answer` runs on the other one until `stop` ends it.
template <typename Answer, typename Run, typename Stop>
void on_two_cores(benchmark::State& state, Answer answer, Run run, Stop stop) {
  const bool first_placed = stay_on(0);
  bool second_placed = false;
  std::thread second([&] {
    second_placed = stay_on(1);
    answer();
  });
  run();
  stop();
  second.join();
  if (!first_placed || !second_placed) state.SkipWithError("needs two CPUs");
}

void handover(benchmark::State& state) {
  constexpr uint64_t kEnd = 2;
  Bell there, back;
  const auto answer = [&] {
    while (there.wait() != kEnd && there.ready()) back.ring();
  };
  const auto run = [&] {
    time_turns(
        state, CLOCK_PROCESS_CPUTIME_ID, 4,
        [&] {
          there.ring();
          back.wait();
        });
  };
  on_two_cores(state, answer, run, [&] { there.ring(kEnd); });
}

void shared_line(benchmark::State& state) {
  alignas(64) std::atomic<uint64_t> line{0};
  constexpr uint64_t kEnd = ~uint64_t{0};
  const auto answer = [&] {
    // Pairs with the release of the other thread, in both directions: odd numbers are to be answered.
    for (uint64_t seen = 0; seen != kEnd; seen = line.load(std::memory_order_acquire))
      if (seen % 2 == 1) line.store(seen + 1, std::memory_order_release);
  };
  const auto run = [&] {
    uint64_t number = 0;
    time_turns(
        state, CLOCK_MONOTONIC, 2,
        [&] {
          line.store(number + 1, std::memory_order_release);
          number += 2;
          while (line.load(std::memory_order_acquire) != number) {
          }
        });
  };
  on_two_cores(state, answer, run, [&] { line.store(kEnd, std::memory_order_release); });
}

}  // namespace

void register_benchmarks() {
  benchmark::RegisterBenchmark("wake_up", wake_up)->UseManualTime();
  benchmark::RegisterBenchmark("handover", handover)->UseManualTime();
  benchmark::RegisterBenchmark("shared_line", shared_line)->UseManualTime();
}

}  // namespace culvert::bench
