// A crowd of peers for a device of the tests.
#pragma once

#include "src/device/encoding.h"
#include "tests/device/device_nodes.h"
#include "tests/traffic/crowd.h"

namespace culvert::device::test {

using traffic::Crowd;

// One operation that makes the whole crowd peers of the node, with a persistent keepalive each.
inline void introduce_crowd(Node& node, const Crowd& crowd) {
  node.device->begin_turn(now(), wall_now());
  for (size_t n = 0; n < crowd.size(); ++n) {
    const Key key = crowd.public_key(n).bytes;
    PeerOrigin origin{};
    ASSERT_EQ(node.device->select_peer(key, origin), 0);
    node.device->set_endpoint(key, pipeline::test::endpoint(crowd.endpoint(n)));
    node.device->set_persistent_keepalive(key, 25);
    node.device->finish_peer(key);
  }
  node.device->end_of_operation();
}

}  // namespace culvert::device::test
