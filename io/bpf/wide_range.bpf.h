// What a device listens on beside its own port: shared by io/listen_wide.cc and its program in the kernel.
#pragma once

#include <linux/types.h>

#define WIDE_PREFIXES 16

// Addresses and masks in network byte order; of IPv4 the first word counts.
struct wide_prefix {
  __u32 family, address[4], mask[4];
};

struct wide_range {
  __u32 first_port, last_port, prefixes;  // no prefix: any address
  struct wide_prefix prefix[WIDE_PREFIXES];
};
