// Paths with keypairs for tests of the data path, without handshakes.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>

#include "io/endpoint.h"
#include "src/pipeline/shared_state.h"
#include "src/protocol/index_table.h"

namespace culvert::pipeline::test {

inline io::Endpoint endpoint(const std::string& text) {
  io::Endpoint result;
  EXPECT_TRUE(io::parse_endpoint(text, result)) << text;
  return result;
}

inline io::Address address(const std::string& text) {
  return endpoint(text + ":1").remote;
}

// A path and what the control thread would hold for it.
struct TestPeer {
  explicit TestPeer(uint64_t id, const std::string& at = "")
      : path(id, static_cast<uint32_t>(id), keypairs, timers.marks()) {
    (void)timers.start();
    if (!at.empty()) path.endpoint.store(endpoint(at));
  }

  protocol::Keypairs keypairs;
  protocol::Timers timers;
  PeerPath path;
  std::deque<protocol::RetiredKeypairs> retired;
};

}  // namespace culvert::pipeline::test
