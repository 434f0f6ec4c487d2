// The queue of bulk flows of one worker, as the program that fills it and the worker that empties it see it.
#pragma once

#include <linux/types.h>

#define LANE_STAMPS 1024
// So many packets at most are between the two: what TUN's own queue holds (TunDevice sets it). More are dropped there.
#define LANE_ROOM 1000

// Times are CLOCK_MONOTONIC's, in nanoseconds.
struct lane {
  // The program's.
  __u32 queued;  // packets that came so far
  __u32 moves;   // flows that moved here from the queue of sparse flows
  __u32 unused[14];
  // The worker's.
  __u32 taken;  // packets that it has read, of those queued
  __u32 padding;
  __u64 done;  // when the last of them came that it has handed on
  __u64 unused_too[6];
  // When packet i came, at i % LANE_STAMPS. 0: that is not known.
  __u64 stamps[LANE_STAMPS];
};

// What the loader sets.
struct tun_settings {
  __u64 seed[2];  // random, so that nobody can choose flows that meet on one worker
  __u64 lanes;    // of how many workers sparse flows have a queue of their own; 0: every worker has one queue
};
