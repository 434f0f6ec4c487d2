// What the control thread publishes for all workers: pointers to immutable or internally synchronised
// objects, replaced as a whole and freed after a grace period (src/pipeline/grace_period.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "src/protocol/allowed_ips.h"
#include "src/protocol/cookie.h"
#include "src/protocol/index_table.h"

namespace culvert::pipeline {

// The handles in both tables are those of PeerPath (path_of() in peer_path.h).
//
// Thread safety: stored by the control thread with release, loaded by workers with acquire, once a batch.
struct Published {
  std::atomic<const protocol::AllowedIps*> allowed_ips{nullptr};  // never null while workers run
  std::atomic<const protocol::IndexTable*> index_table{nullptr};  // never null while workers run
  std::atomic<const protocol::Mac1Key*> mac1_key{nullptr};        // null: no private key, no handshakes
  std::atomic<uint32_t> mtu{0};                                   // of the inner side
  std::atomic<uint16_t> listen_port{0};
};

}  // namespace culvert::pipeline
