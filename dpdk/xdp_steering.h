// Ports of af_xdp: a program of ours on the network device gives datagrams to our UDP ports to the port, and leaves
// the rest to the kernel, as mlx5's isolated mode does by flow rules. The driver loads and attaches the program.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::dpdk {

// Thread safety: one thread's.
class XdpSteering {
 public:
  // A file with the program, for the driver to read: its argument is xdp_prog=/proc/self/fd/N.
  // Errors: EOPNOTSUPP in a build without eBPF, those of memfd_create(2).
  static io::Result<io::Fd> make_program_file();

  // Looks for the program on an interface. ENOENT: there is another one, or none; EPERM without CAP_SYS_ADMIN.
  static io::Result<std::unique_ptr<XdpSteering>> find(unsigned interface_index);

  // From now on the port gets datagrams to these UDP ports alone. Errors: those of bpf(2).
  io::Status steer(const std::vector<uint16_t>& ports);

 private:
  explicit XdpSteering(io::Fd map) : map_(std::move(map)) {}

  io::Fd map_;
  std::vector<uint16_t> ports_;
};

}  // namespace culvert::dpdk
