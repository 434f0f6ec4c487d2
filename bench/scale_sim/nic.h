// How a NIC spreads the datagrams of one pair of hosts over receive queues: the RSS of its driver's defaults.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace culvert::scale_sim {

inline constexpr size_t kRssKeyBytes = 40;
using RssKey = std::array<uint8_t, kRssKeyBytes>;

enum class NicModel : uint8_t {
  mlx5,   // DPDK 22.11's default key; 512 entries at most, but as many as queues if these are a power of two
  ixgbe,  // DPDK 22.11's default key, which is Microsoft's; 128 entries and 16 queues, or 512 and 64 (X550)
  linux,  // a key that Linux made at random when it started, as its drivers have it
  rps     // no NIC: Linux's receive packet steering over all cores, by a keyed hash that is as good as random
};

// What goes into the hash of a UDP datagram.
enum class HashFields : uint8_t {
  l3,             // both addresses
  l4,             // both addresses, both ports
  l4_source_only  // both addresses, the source port (mlx5: RTE_ETH_RSS_L4_SRC_ONLY)
};

struct NicOptions {
  NicModel model = NicModel::mlx5;
  HashFields fields = HashFields::l4;
  uint32_t table_entries = 0;  // 128 or 512; 0: the model's own
};

// Addresses and ports of an outer IPv4 datagram, in host byte order.
struct OuterTuple {
  uint32_t source = 0;
  uint32_t destination = 0;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
};

[[nodiscard]] const RssKey& default_key(NicModel model);  // of mlx5 and ixgbe; the others have none

// Constant after construction.
class Nic {
 public:
  // Spreads over min(`cores`, what the NIC can) queues. `random_key` is the key of models that have no default.
  Nic(const NicOptions& options, uint32_t cores, const RssKey& random_key);

  [[nodiscard]] uint32_t hash(const OuterTuple& tuple) const;
  [[nodiscard]] uint32_t queue(const OuterTuple& tuple) const;
  [[nodiscard]] uint32_t queues() const { return queues_; }
  [[nodiscard]] size_t table_entries() const { return table_.size(); }

 private:
  NicModel model_;
  HashFields fields_;
  RssKey key_;
  uint32_t queues_;
  std::vector<uint32_t> table_;  // a power of two of entries; one a queue for rps
};

}  // namespace culvert::scale_sim
