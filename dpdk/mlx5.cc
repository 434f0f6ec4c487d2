#include "dpdk/mlx5.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>

#include "dpdk/frame.h"
#include "io/lease.h"

namespace culvert::dpdk {
namespace {

// What may be said of a device, and between which numbers: the keys of DPDK 22.11's guide "NVIDIA MLX5 Ethernet Driver"
// that matter here. The driver looks at them only once it has found its device, so that a typing error would show late.
struct Key {
  const char* name;
  uint64_t least, most;
};
constexpr std::array kKeys = {
    Key{"delay_drop", 0, 3},
    Key{"dv_flow_en", 1, 1},  // flow rules of the kind that isolation needs
    Key{"mprq_en", 0, 1},
    Key{"mprq_log_stride_num", 0, 16},
    Key{"mprq_log_stride_size", 6, 13},
    Key{"mprq_max_memcpy_len", 0, 4096},
    Key{"rx_vec_en", 0, 1},
    Key{"rxq_cqe_comp_en", 0, 4},
    Key{"rxq_pkt_pad_en", 0, 1},
    Key{"rxqs_min_mprq", 1, 1024},
    Key{"tx_db_nc", 0, 2},
    Key{"txq_inline_max", 0, 1024},
    Key{"txq_inline_min", 0, 1024},
    Key{"txq_inline_mpw", 0, 1024},
    Key{"txq_mpw_en", 0, 1},
    Key{"txqs_min_inline", 0, 1024},
};

constexpr unsigned kLeastStride = 6, kMostStride = 13;  // log2 of what ConnectX-5 and later have

std::string names_of_keys() {
  std::string names;
  for (const Key& key : kKeys) {
    if (!names.empty()) names += ' ';
    names += key.name;
  }
  return names;
}

io::Status check_argument(const std::string& name, const std::string& value) {
  const auto* const key = std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& one) { return one.name == name; });
  if (key == kKeys.end())
    return io::Error{EINVAL, "there is no device argument `" + name + "`; there are: " + names_of_keys()};
  uint64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stopped != end || number < key->least || number > key->most) {
    std::string wrong = "`";
    wrong.append(name).append("=").append(value).append("` is not a number from ");
    wrong.append(std::to_string(key->least)).append(" to ").append(std::to_string(key->most));
    return io::Error{EINVAL, wrong};
  }
  return io::Success{};
}

// "0000:3b:00.0" or "3b:00.1"
bool is_pci_address(std::string_view text) {
  constexpr std::string_view kShape = "0000:00:00.0";
  if (text.size() == kShape.size() - 5) return is_pci_address(std::string("0000:").append(text));
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_digit = std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
    if (kShape[i] == '0' ? !is_digit : text[i] != kShape[i]) return false;
  }
  return true;
}

DeviceArguments usual_arguments(uint32_t mtu) {
  // Completions are compressed, and written by whole cache lines.
  DeviceArguments arguments = {{"dv_flow_en", "1"}, {"rxq_cqe_comp_en", "1"}, {"rxq_pkt_pad_en", "1"}};
  // The next packet's headroom begins where this one's room ends, so a stride has both.
  const size_t stride = RTE_PKTMBUF_HEADROOM + mtu + kMaxLinkBytes + io::kTailroom;
  const unsigned log_size = std::max(kLeastStride, static_cast<unsigned>(std::bit_width(stride - 1)));
  arguments.emplace("mprq_en", log_size <= kMostStride ? "1" : "0");
  if (log_size > kMostStride) return arguments;
  arguments.emplace("mprq_log_stride_size", std::to_string(log_size));
  arguments.emplace("rxqs_min_mprq", "1");  // else it takes twelve queues
  return arguments;
}

}  // namespace

io::Result<std::string> mlx5_device(const std::string& address, uint32_t mtu, const DeviceArguments& wanted) {
  if (!is_pci_address(address)) return io::Error{EINVAL, "`" + address + "` is no PCI address, such as 0000:3b:00.0"};
  DeviceArguments arguments = usual_arguments(mtu);
  for (const auto& [name, value] : wanted) {
    if (const io::Status good = check_argument(name, value); !good) return good.error();
    arguments[name] = value;
  }
  std::string text = address;
  for (const auto& [name, value] : arguments) text.append(",").append(name).append("=").append(value);
  return text;
}

std::vector<PortBlock> cover_ports(std::vector<uint16_t> ports) {
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  std::vector<PortBlock> blocks;
  for (size_t first = 0; first < ports.size();) {
    // The largest block that starts here: aligned, and all of its ports are wanted. They are sorted, so the last tells.
    size_t count = 1;
    while (ports[first] % (2 * count) == 0 && first + 2 * count <= ports.size() &&
           ports[first + 2 * count - 1] == ports[first] + 2 * count - 1)
      count *= 2;
    blocks.push_back({ports[first], static_cast<uint16_t>(~(count - 1))});
    first += count;
  }
  return blocks;
}

FlowRule::FlowRule(bool v6, const PortBlock& block, uint16_t vlan, uint16_t queues) {
  attributes_.ingress = 1;
  const auto add = [this](rte_flow_item_type type, const void* spec = nullptr, const void* mask = nullptr) {
    pattern_.push_back({type, spec, nullptr, mask});
  };
  add(RTE_FLOW_ITEM_TYPE_ETH);
  if (vlan != 0) {
    vlan_.tci = htons(vlan);
    vlan_mask_.tci = htons(0x0fff);
    add(RTE_FLOW_ITEM_TYPE_VLAN, &vlan_, &vlan_mask_);
  }
  add(v6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4);
  udp_.hdr.dst_port = htons(block.port);
  udp_mask_.hdr.dst_port = htons(block.mask);
  add(RTE_FLOW_ITEM_TYPE_UDP, &udp_, &udp_mask_);
  add(RTE_FLOW_ITEM_TYPE_END);

  for (uint16_t queue = 0; queue < queues; ++queue) queues_.push_back(queue);
  rss_.func = RTE_ETH_HASH_FUNCTION_DEFAULT;
  rss_.types = (v6 ? RTE_ETH_RSS_NONFRAG_IPV6_UDP : RTE_ETH_RSS_NONFRAG_IPV4_UDP) | RTE_ETH_RSS_L4_SRC_ONLY;
  rss_.queue_num = queues;
  rss_.queue = queues_.data();
  actions_ = {{{RTE_FLOW_ACTION_TYPE_RSS, &rss_}, {RTE_FLOW_ACTION_TYPE_END, nullptr}}};
  std::array<char, 8> mask{};
  (void)std::snprintf(mask.data(), mask.size(), "0x%04x", block.mask);
  text_ = std::string("UDP over v") + (v6 ? '6' : '4') + " to port " + std::to_string(block.port) + "/" + mask.data();
}

std::vector<std::unique_ptr<FlowRule>> flow_rules(const std::vector<uint16_t>& ports, uint16_t vlan, uint16_t queues) {
  std::vector<std::unique_ptr<FlowRule>> rules;
  for (const PortBlock& block : cover_ports(ports))
    for (const bool v6 : {false, true}) rules.push_back(std::make_unique<FlowRule>(v6, block, vlan, queues));
  return rules;
}

}  // namespace culvert::dpdk
