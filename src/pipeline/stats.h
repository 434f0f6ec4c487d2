// What a worker counts.
#pragma once

#include <array>
#include <cstdint>

#include "io/counters.h"
#include "src/pipeline/drop_reason.h"

namespace culvert::pipeline {

using io::Counter;

struct WorkerCounters {
  Counter inner_packets_read;
  Counter inner_packets_written;
  Counter messages_sealed;
  Counter messages_opened;
  Counter keepalives_received;
  Counter packets_staged;
  Counter packets_marked;
  Counter waits_below_1ms, waits_below_5ms, waits_below_20ms, waits_longer;
  Counter unreachable_sent;
  Counter wakeups;  // returns from waiting for events
};

inline constexpr auto kWorkerCounters = std::to_array<io::CounterEntry<WorkerCounters>>({
    {&WorkerCounters::inner_packets_read, "inner_packets_read_total", "Superpackets read from the inner side."},
    {&WorkerCounters::inner_packets_written, "inner_packets_written_total", "Superpackets written to the inner side."},
    {&WorkerCounters::messages_sealed, "messages_sealed_total", "Transport data messages sealed."},
    {&WorkerCounters::messages_opened, "messages_opened_total", "Transport data messages opened and authentic."},
    {&WorkerCounters::keepalives_received, "keepalives_received_total", "Keepalives received."},
    {&WorkerCounters::packets_staged, "packets_staged_total", "Superpackets that waited for a handshake."},
    {&WorkerCounters::packets_marked, "packets_marked_total", "Superpackets marked by ECN, as their queue stood."},
    {&WorkerCounters::waits_below_1ms, "queue_waits_total",
     "Superpackets of bulk flows, by how long they waited in the device's queue.", "below=\"1ms\""},
    {&WorkerCounters::waits_below_5ms, "queue_waits_total", "Below 5 ms.", "below=\"5ms\""},
    {&WorkerCounters::waits_below_20ms, "queue_waits_total", "Below 20 ms.", "below=\"20ms\""},
    {&WorkerCounters::waits_longer, "queue_waits_total", "Longer.", "below=\"inf\""},
    {&WorkerCounters::unreachable_sent, "unreachable_sent_total", "ICMP unreachable errors to the inner side."},
    {&WorkerCounters::wakeups, "wakeups_total", "Turns of the worker's loop."},
});
static_assert(io::describes_all(kWorkerCounters), "a counter of WorkerCounters has no line in the table");

// Thread safety: written by the owning worker, but for the drops under control_queue_full, which the control thread
// counts; read by any thread.
struct WorkerStats : WorkerCounters {
  std::array<Counter, kDropReasons> drops;

  void drop(DropReason reason, uint64_t n = 1) { drops[static_cast<size_t>(reason)].add(n); }
};
static_assert(sizeof(WorkerStats) == sizeof(WorkerCounters) + kDropReasons * sizeof(Counter),
              "counters belong into WorkerCounters");

}  // namespace culvert::pipeline
