// Whether this process may load BPF programs.
#pragma once

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace culvert::test {

// Without it the kernel refuses every BPF program; with it nothing in our tests may be refused.
inline bool has_cap_bpf() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  constexpr unsigned kCapBpf = 39, kCapSysAdmin = 21;
  return ::syscall(SYS_capget, &header, sets) == 0 &&
         ((sets[1].effective >> (kCapBpf - 32) & 1) != 0 || (sets[0].effective >> kCapSysAdmin & 1) != 0);
}

}  // namespace culvert::test

#define NEEDS_CAP_BPF() \
  if (!culvert::test::has_cap_bpf()) GTEST_SKIP() << "CAP_BPF is missing: run as root"
