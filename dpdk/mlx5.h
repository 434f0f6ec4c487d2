// What a ConnectX port wants beside what every ethdev port has: arguments for its driver, and the flow rules that steer
// our UDP ports to us while the kernel keeps the rest. Values in, values out: no device is touched.
#pragma once

#include <rte_flow.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/result.h"

namespace culvert::dpdk {

using DeviceArguments = std::map<std::string, std::string>;

// The argument of EAL's -a for the device at a PCI address: ours, and what the user says where both speak of a key. A
// frame of the MTU fits in a stride of the multi-packet receive queue, with room in front and behind; if there is no
// such stride the queue is an ordinary one.
// Errors: EINVAL for an address that is none, a key that is not on the list, or a value out of its range; the context
// names what was meant to be there.
io::Result<std::string> mlx5_device(const std::string& address, uint32_t mtu, const DeviceArguments& wanted);

// UDP ports whose numbers agree with `port` where `mask` has ones. Host byte order.
struct PortBlock {
  uint16_t port = 0, mask = 0xffff;
  bool operator==(const PortBlock&) const = default;
};

// The fewest blocks that hold exactly these ports, which may come in any order: a device matches bits and no ranges.
std::vector<PortBlock> cover_ports(std::vector<uint16_t> ports);

// One rule: UDP over one IP version to a block of ports, spread over the queues by the hash of the source port.
// Fragments match nothing and stay with the kernel. It points into itself.
class FlowRule {
 public:
  // `vlan` 0: untagged frames. `queues`: 0 up to this many.
  FlowRule(bool v6, const PortBlock& block, uint16_t vlan, uint16_t queues);
  FlowRule(const FlowRule&) = delete;
  FlowRule& operator=(const FlowRule&) = delete;

  const rte_flow_attr& attributes() const { return attributes_; }
  const rte_flow_item* pattern() const { return pattern_.data(); }
  const rte_flow_action* actions() const { return actions_.data(); }
  // "UDP over v4 to port 51820/0xffff"
  const std::string& text() const { return text_; }

 private:
  rte_flow_attr attributes_{};
  rte_flow_item_vlan vlan_{}, vlan_mask_{};
  rte_flow_item_udp udp_{}, udp_mask_{};
  std::vector<rte_flow_item> pattern_;
  std::vector<uint16_t> queues_;
  rte_flow_action_rss rss_{};
  std::array<rte_flow_action, 2> actions_{};
  std::string text_;
};

// The rules for all of these UDP ports, for both IP versions.
std::vector<std::unique_ptr<FlowRule>> flow_rules(const std::vector<uint16_t>& ports, uint16_t vlan, uint16_t queues);

}  // namespace culvert::dpdk
