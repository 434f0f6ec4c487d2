#include "bench/scale_sim/nic.h"

#include <algorithm>
#include <bit>
#include <span>

#include "bench/scale_sim/random.h"
#include "bench/scale_sim/toeplitz.h"

namespace culvert::scale_sim {
namespace {

constexpr uint32_t kSmallTable = 128, kLargeTable = 512;

// DPDK 22.11, drivers/net/mlx5/mlx5_rxq.c, rss_hash_default_key.
constexpr RssKey kMlx5Key = {0x2c, 0xc6, 0x81, 0xd1, 0x5b, 0xdb, 0xf4, 0xf7, 0xfc, 0xa2, 0x83, 0x19, 0xdb, 0x1a,
                             0x3e, 0x94, 0x6b, 0x9e, 0x38, 0xd9, 0x2c, 0x9c, 0x03, 0xd1, 0xad, 0x99, 0x44, 0xa7,
                             0xd9, 0x56, 0x3d, 0x59, 0x06, 0x3c, 0x25, 0xf3, 0xfc, 0x1f, 0xdc, 0x2a};

// DPDK 22.11, drivers/net/ixgbe/ixgbe_rxtx.c, rss_intel_key: the key of Microsoft's verification suite.
constexpr RssKey kIxgbeKey = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
                              0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
                              0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

// 82599 and X540 have 4 bits for a queue's number in an entry, X550 has 6 and the larger table.
uint32_t max_queues(NicModel model, uint32_t entries) {
  if (model == NicModel::ixgbe) return entries == kLargeTable ? 64 : 16;
  return entries;
}

// mlx5_dev_configure_rss_reta(): the whole table only where queues do not divide it.
uint32_t used_entries(const NicOptions& options, uint32_t entries, uint32_t queues) {
  if (options.model == NicModel::rps) return queues;
  const bool shrinks = options.model == NicModel::mlx5 && options.table_entries == 0 && std::has_single_bit(queues);
  return shrinks ? queues : entries;
}

bool has_default_key(NicModel model) {
  return model == NicModel::mlx5 || model == NicModel::ixgbe;
}

uint32_t random_hash(const RssKey& key, std::span<const uint8_t> input) {
  uint64_t state = 0;
  for (const uint8_t byte : key) state = scramble(state ^ byte);
  for (const uint8_t byte : input) state = scramble(state ^ byte);
  return static_cast<uint32_t>(state);
}

}  // namespace

const RssKey& default_key(NicModel model) {
  return model == NicModel::ixgbe ? kIxgbeKey : kMlx5Key;
}

Nic::Nic(const NicOptions& options, uint32_t cores, const RssKey& random_key)
    : model_(options.model),
      fields_(options.fields),
      key_(has_default_key(options.model) ? default_key(options.model) : random_key) {
  const uint32_t own = options.model == NicModel::mlx5 ? kLargeTable : kSmallTable;
  const uint32_t entries = options.table_entries == 0 ? own : options.table_entries;
  queues_ = std::min(cores, max_queues(options.model, entries));
  table_.resize(used_entries(options, entries, queues_));
  for (uint32_t i = 0; i < table_.size(); ++i) table_[i] = i % queues_;
}

uint32_t Nic::hash(const OuterTuple& tuple) const {
  std::array<uint8_t, 12> input = {};
  for (int i = 0; i < 4; ++i) {
    input[i] = static_cast<uint8_t>(tuple.source >> (24 - 8 * i));
    input[4 + i] = static_cast<uint8_t>(tuple.destination >> (24 - 8 * i));
  }
  for (int i = 0; i < 2; ++i) {
    input[8 + i] = static_cast<uint8_t>(tuple.source_port >> (8 - 8 * i));
    input[10 + i] = static_cast<uint8_t>(tuple.destination_port >> (8 - 8 * i));
  }
  const size_t bytes = fields_ == HashFields::l3 ? 8 : fields_ == HashFields::l4_source_only ? 10 : 12;
  const auto hashed = std::span(input).first(bytes);
  return model_ == NicModel::rps ? random_hash(key_, hashed) : toeplitz(key_, hashed);
}

uint32_t Nic::queue(const OuterTuple& tuple) const {
  const uint32_t number = hash(tuple);
  return model_ == NicModel::rps ? scaled(number, queues_) : table_[number & (table_.size() - 1)];
}

}  // namespace culvert::scale_sim
