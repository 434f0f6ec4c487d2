// The slot table of io/steering_table.h, as the programs in the kernel read it.
#pragma once

#define SLOTS 128

struct slots {
  __u8 worker[SLOTS];
};

// io/steering_map.cc makes it; every program that is loaded takes that one in place of one of its own.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct slots);
} steering_table SEC(".maps");

static __always_inline __u32 worker_of(__u32 slot) {
  __u32 only = 0;
  struct slots* slots = bpf_map_lookup_elem(&steering_table, &only);
  return slots ? slots->worker[slot % SLOTS] : 0;
}
