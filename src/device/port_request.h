// Ports of network cards by DPDK, as a user asks for them: on the command line and in files. Known without DPDK, too.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"
#include "src/device/encoding.h"

namespace culvert::device {

struct PortNeighbour {
  io::Address address;
  std::array<uint8_t, 6> mac{};

  bool operator==(const PortNeighbour&) const = default;
};

// One port. Addresses, gateways and neighbours are for ports of which the kernel has none itself (memif, vhost).
struct PortRequest {
  std::string name;               // a PCI address or the name of a vdev
  std::vector<Prefix> addresses;  // with their host bits
  std::vector<io::Address> gateways;
  std::vector<PortNeighbour> neighbours;
  uint16_t vlan = 0;            // 1 to 4094; 0: untagged
  std::optional<uint32_t> mtu;  // none: the kernel's, or 1500
  uint16_t descriptors = 1024;  // of each queue

  bool operator==(const PortRequest&) const = default;
};

// What stands behind --dpdk, --outer-port, --inner-port and --busy-poll, and the same in files.
struct DpdkRequest {
  std::string arguments;             // EAL's own, as a shell would split them
  std::optional<PortRequest> outer;  // none: the only port that there is
  std::optional<PortRequest> inner;  // none: a TUN device
  bool busy_poll = false;

  bool operator==(const DpdkRequest&) const = default;
};

// "NAME [address=ADDRESS/BITS] [gateway=ADDRESS] [neighbour=ADDRESS@MAC] [vlan=N] [mtu=N] [descriptors=N]"; the first
// three as often as wanted. The error names the word, and says what may stand there.
io::Result<PortRequest> parse_port_request(std::string_view text);

}  // namespace culvert::device
