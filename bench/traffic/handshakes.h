// `handshakes`: how many handshakes a WireGuard daemon answers, by playing many initiators against it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/result.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/keys.h"

namespace culvert::traffic {

struct HandshakeOptions {
  std::string config_path;  // where the list of peers goes
  uint32_t peers = 1;
  protocol::PublicKey server;
  double seconds = 5;
  std::optional<protocol::Prefix> sources;  // local addresses to send from; else the kernel's choice
};

}  // namespace culvert::traffic
