// A device that only remembers what it was told.
#pragma once

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string>
#include <vector>

#include "src/uapi/conversation.h"

namespace culvert::test {

// device::Key number `n`: all its bytes are n.
inline device::Key key_number(uint8_t n) {
  device::Key key;
  key.fill(n);
  return key;
}

inline device::SecretKey secret_number(uint8_t n) {
  return device::SecretKey(key_number(n));
}

class FakeDevice final : public device::Configurable, public uapi::Handler {
 public:
  // What the test looks at.
  device::DeviceState state;
  std::vector<std::string> finished;  // hex of each key that finish_peer() named
  int publications = 0;
  std::vector<std::string> errors;

  // What the test sets.
  std::function<std::string()> metrics_pieces = [] { return std::string(); };
  device::Key own_public_key = key_number(0xee);
  int group_refusal = 0;  // what set_group() returns
  std::string port_refusal_text;
  int refusal = 0;  // what set_listen_port(), set_source_ports(), set_fwmark(), set_workers() and select_peer() return

  crypto::SecretString get() override { return uapi::print_get(state); }
  std::function<std::string()> metrics() override { return metrics_pieces; }
  device::Configurable& target() override { return *this; }
  void on_error(const std::string& text) override { errors.push_back(text); }

  int set_private_key(const device::SecretKey& private_key) override {
    state.private_key = private_key.clone();
    return 0;
  }
  int set_listen_port(uint16_t port) override {
    state.listen_port = port;
    return refusal;
  }
  int set_workers(uint32_t count) override {
    state.workers = count;
    return refusal;
  }
  int set_source_ports(const io::SourcePorts& ports) override {
    state.source_ports = ports;
    return refusal;
  }
  std::string port_refusal() const override { return port_refusal_text; }
  int set_peer_source_ports(const device::Key& public_key, uint16_t count) override {
    find(public_key)->source_ports = count;
    return 0;
  }
  int set_fwmark(uint32_t mark) override {
    state.fwmark = mark;
    return refusal;
  }
  int remove_all_peers() override {
    state.peers.clear();
    return 0;
  }
  int select_peer(const device::Key& public_key, device::PeerOrigin& origin) override {
    if (refusal != 0) return refusal;
    if (public_key == own_public_key) {
      origin = device::PeerOrigin::own_key;
    } else if (find(public_key) != nullptr) {
      origin = device::PeerOrigin::existing;
    } else {
      origin = device::PeerOrigin::created;
      state.peers.emplace_back().public_key = public_key;
    }
    return 0;
  }
  int remove_peer(const device::Key& public_key) override {
    std::erase_if(state.peers, [&](const device::PeerState& peer) { return peer.public_key == public_key; });
    return 0;
  }
  int set_preshared_key(const device::Key& public_key, const device::SecretKey& preshared_key) override {
    find(public_key)->preshared_key = preshared_key.clone();
    return 0;
  }
  int set_endpoint(const device::Key& public_key, const io::Endpoint& endpoint) override {
    find(public_key)->endpoint = endpoint;
    return 0;
  }
  int set_persistent_keepalive(const device::Key& public_key, uint16_t seconds) override {
    find(public_key)->persistent_keepalive_seconds = seconds;
    return 0;
  }
  int set_group(const device::Key& public_key, const std::string& name) override {
    if (group_refusal != 0) return group_refusal;
    find(public_key)->group = name;
    return 0;
  }
  int clear_allowed_ips(const device::Key& public_key) override {
    find(public_key)->allowed_ips.clear();
    return 0;
  }
  int add_allowed_ip(const device::Key& public_key, const device::Prefix& prefix) override {
    find(public_key)->allowed_ips.push_back(prefix);
    return 0;
  }
  int remove_allowed_ip(const device::Key& public_key, const device::Prefix& prefix) override {
    std::erase(find(public_key)->allowed_ips, prefix);
    return 0;
  }
  void finish_peer(const device::Key& public_key) override { finished.push_back(device::to_hex(public_key)); }
  void end_of_operation() override { ++publications; }

  // Null when there is none. Peers vanish when two operations interleave, but not in these tests.
  device::PeerState* find(const device::Key& public_key) {
    const auto at = std::find_if(state.peers.begin(), state.peers.end(),
                                 [&](const device::PeerState& peer) { return peer.public_key == public_key; });
    return at == state.peers.end() ? nullptr : &*at;
  }
};

}  // namespace culvert::test
