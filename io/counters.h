// Counters, and the tables by which every one of them reaches the metrics.
//
// To add a counter: a member of its struct and a line in the table beside the struct. A member without a line does not
// compile, because a static_assert asks describes_all(), and whoever exports goes through the table.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert::io {

// Thread safety: one thread adds, any thread reads. Relaxed, without a partner: each counter stands for itself.
class Counter {
 public:
  void add(uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }
  // In place of the one thread that adds.
  void clear() { value_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// How one member of the struct `Counters` is exported.
template <typename Counters>
struct CounterEntry {
  Counter Counters::*counter;
  std::string_view name;        // of the metric family, without the prefix; ends in _total
  std::string_view help;        // of the family: entries of one family are neighbours, and the first one's counts
  std::string_view label = {};  // name="value", where a family has several entries
  std::string_view drop = {};   // the drop reason, where this counts drops that nobody else counts
};

template <typename Counters, size_t kEntries>
using CounterTable = std::array<CounterEntry<Counters>, kEntries>;

// The values of a struct's counters, in the order of its table.
template <size_t kEntries>
using CounterValues = std::array<uint64_t, kEntries>;

// Whether the struct, of which all members are counters, has each one in the table exactly once, under a name of its
// own.
template <typename Counters, size_t kEntries>
constexpr bool describes_all(const CounterTable<Counters, kEntries>& table) {
  if (sizeof(Counters) != kEntries * sizeof(Counter)) return false;
  for (size_t i = 0; i < kEntries; ++i) {
    if (!table[i].name.ends_with("_total") || table[i].help.empty()) return false;
    for (size_t j = 0; j < i; ++j) {
      if (table[i].counter == table[j].counter) return false;
      if (table[i].name != table[j].name) continue;
      // Entries of one family: neighbours, told apart by their labels.
      if (table[i - 1].name != table[i].name || table[i].label.empty() || table[i].label == table[j].label)
        return false;
    }
  }
  return true;
}

// Adds what `counters` say now to `values`. Any thread.
template <typename Counters, size_t kEntries>
void add_counters(const Counters& counters, const CounterTable<Counters, kEntries>& table,
                  CounterValues<kEntries>& values) {
  for (size_t i = 0; i < kEntries; ++i) values[i] += (counters.*table[i].counter).get();
}

}  // namespace culvert::io
