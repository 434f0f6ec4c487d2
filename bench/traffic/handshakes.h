// `handshakes`: how many handshakes a WireGuard daemon answers, by playing many initiators against it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bench/traffic/handshake_player.h"
#include "io/result.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/keys.h"

namespace culvert::traffic {

inline constexpr uint32_t kMaxInitiators = 65536;

struct HandshakeOptions {
  std::string config_path;  // where the list of peers goes
  uint32_t peers = 1;
  protocol::PublicKey server;
  double seconds = 5;
  std::optional<protocol::Prefix> sources;  // local addresses to send from; else the kernel's choice
  uint32_t window = 64;                     // initiations in flight
};

struct HandshakeResult {
  HandshakeCounts counts;
  double seconds = 0;
  double cpu_seconds = 0;  // of the player
};

// Writes the peers' public keys to config_path, prints "ready", waits for the line `go ADDR PORT` on the standard
// input, and plays.
io::Result<HandshakeResult> run_handshakes(const HandshakeOptions& options);

}  // namespace culvert::traffic
