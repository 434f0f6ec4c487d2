// Whether BPF programs can be loaded: by this build, and by this process.
#pragma once

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "io/steering_map.h"

namespace culvert::test {

// Without it the kernel refuses every BPF program; with it nothing in our tests may be refused.
inline bool has_cap_bpf() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  constexpr unsigned kCapBpf = 39, kCapSysAdmin = 21;
  return ::syscall(SYS_capget, &header, sets) == 0 &&
         ((sets[1].effective >> (kCapBpf - 32) & 1) != 0 || (sets[0].effective >> kCapSysAdmin & 1) != 0);
}

// False for a build without clang or libbpf.
inline bool build_has_bpf() {
  const auto made = io::SteeringMap::create(io::SteeringTable());
  return made || made.error().number != EOPNOTSUPP;
}

}  // namespace culvert::test

#define NEEDS_CAP_BPF()                                                                 \
  if (!culvert::test::has_cap_bpf()) GTEST_SKIP() << "CAP_BPF is missing: run as root"; \
  if (!culvert::test::build_has_bpf()) GTEST_SKIP() << "this build has no eBPF: tools/setup build"
