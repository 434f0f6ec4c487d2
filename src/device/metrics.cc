#include "src/device/metrics.h"

#include "crypto/aead_engine.h"
#include "src/device/device.h"

namespace culvert::device {

Metrics Device::metrics() const {
  Metrics metrics;
  metrics.name = options_.name;
  metrics.aead_engine = crypto::engine_name();
  metrics.peers = peers_.size();
  metrics.link_up = up_;
  metrics.tun_engine = options_.tun_engine;
  io::add_counters(stats_, kControlCounters, metrics.control);

  io::OuterState& outer = metrics.outer_state;
  outer.engine = io::chosen_engine(options_.udp_engine);
  outer.gso_active = outer.gro_active = metrics.tun_tcp = metrics.tun_udp = !workers_.empty();
  metrics.workers = workers_.metrics();
  metrics.outer = workers_.outer_counters();
  metrics.inner = workers_.inner_counters();
  if (sockets_ != nullptr)
    for (size_t i = 0; i < sockets_->ports().size(); ++i)
      metrics.ports.push_back({sockets_->ports()[i], sockets_->datagrams_sent(i)});
  for (const auto& worker : workers_) {
    const io::OuterState one = worker->outer_state();
    if (one.engine != io::Engine::automatic) outer.engine = one.engine;
    outer.gso_active &= one.gso_active;
    outer.gro_active &= one.gro_active;
    const io::InnerOffloads inner = worker->inner_offloads();
    metrics.tun_tcp &= inner.tcp4 && inner.tcp6;
    metrics.tun_udp &= inner.udp4 && inner.udp6;
  }
  return metrics;
}

}  // namespace culvert::device
