#include "bench/scale_sim/arrangement.h"

#include <cassert>

#include "bench/scale_sim/random.h"
#include "bench/scale_sim/rendezvous.h"

namespace culvert::scale_sim {
namespace {

// What the steering program makes of a source port.
uint32_t steered(uint16_t source_port, uint32_t workers) {
  return (uint32_t{source_port} * 0x9e37U >> 8) % workers;
}

}  // namespace

std::string Arrangement::name() const {
  if (kind == Kind::plain) return "plain";
  if (kind == Kind::ports) return std::to_string(count) + (count == 1 ? " port" : " ports");
  return "group of " + std::to_string(count);
}

std::vector<Path> find_paths(const std::vector<Flow>& flows, const Arrangement& arrangement, const Hosts& hosts) {
  using Kind = Arrangement::Kind;
  const uint32_t cores = hosts.cores;
  const Nic nic(hosts.nic, cores, hosts.random_key);
  std::vector<uint32_t> queue_of_port, steered_port;
  for (uint32_t port = 0; port < arrangement.count; ++port) {
    OuterTuple tuple = hosts.tuple;
    tuple.source_port = static_cast<uint16_t>(tuple.source_port + port);
    queue_of_port.push_back(nic.queue(tuple));
    steered_port.push_back(steered(tuple.source_port, cores));
  }
  std::vector<bool> alive(arrangement.tunnels(), true);
  for (uint32_t i = 0; i < arrangement.dead && i < alive.size(); ++i) alive[alive.size() - 1 - i] = false;

  std::vector<Path> paths;
  paths.reserve(flows.size());
  for (const Flow& flow : flows) {
    Path path;
    path.sender = scaled(static_cast<uint32_t>(flow.hash), cores);
    if (arrangement.kind == Kind::ports) path.port = scaled(static_cast<uint32_t>(flow.hash >> 32), arrangement.count);
    if (arrangement.kind == Kind::group) {
      const auto member = choose_member(flow.hash, alive);
      assert(member);
      path.port = path.tunnel = *member;
      path.sender = *member % cores;  // the member's home
    }
    path.nic_core = path.receiver = queue_of_port[path.port];
    if (hosts.steering == Steering::index)
      path.receiver = arrangement.kind == Kind::ports ? steered_port[path.port] : path.tunnel % cores;
    paths.push_back(path);
  }
  return paths;
}

}  // namespace culvert::scale_sim
