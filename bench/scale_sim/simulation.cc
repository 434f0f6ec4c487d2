#include "bench/scale_sim/simulation.h"

#include <algorithm>

#include "bench/scale_sim/random.h"
#include "bench/scale_sim/throughput.h"

namespace culvert::scale_sim {
namespace {

constexpr uint16_t kWireGuardPort = 51820;
constexpr uint16_t kFirstSourcePort = 1024;

// Two hosts at addresses of the round. The first source port leaves room for the widest arrangement.
Hosts draw_hosts(const Plan& plan, Random& random) {
  uint32_t widest = 1;
  for (const Arrangement& arrangement : plan.arrangements) widest = std::max(widest, arrangement.count);
  Hosts hosts;
  hosts.nic = plan.nic;
  hosts.steering = plan.steering;
  hosts.tuple.source = static_cast<uint32_t>(random.word());
  hosts.tuple.destination = static_cast<uint32_t>(random.word());
  const uint32_t room = 0x10000 - kFirstSourcePort - widest;
  hosts.tuple.source_port = static_cast<uint16_t>(kFirstSourcePort + random.word() % (room + 1));
  if (plan.first_port != 0) hosts.tuple.source_port = plan.first_port;
  hosts.tuple.destination_port = kWireGuardPort;
  for (uint8_t& byte : hosts.random_key) byte = static_cast<uint8_t>(random.word());
  return hosts;
}

Point measure(const std::vector<Flow>& flows, const Arrangement& arrangement, const Hosts& hosts, const Costs& costs) {
  const std::vector<Path> paths = find_paths(flows, arrangement, hosts);
  std::vector<double> load(hosts.cores, 0.0);
  for (size_t i = 0; i < flows.size(); ++i) load[paths[i].receiver] += flows[i].share;
  return {packets_per_second(flows, paths, arrangement.tunnels(), hosts.cores, costs), balance_of(load)};
}

MixResult simulate_mix(const Plan& plan, Mix mix) {
  MixResult result = {mix, plan.flows == 0 ? default_flows(mix) : plan.flows, {}};
  for (const Arrangement& arrangement : plan.arrangements)
    result.curves.push_back({arrangement, std::vector<Point>(plan.cores.size())});
  for (uint32_t round = 0; round < plan.rounds; ++round) {
    const uint64_t seed = scramble(plan.seed) + round;
    const std::vector<Flow> flows = make_flows(mix, result.flows, seed);
    Random random(~seed);
    Hosts hosts = draw_hosts(plan, random);
    for (Curve& curve : result.curves)
      for (size_t i = 0; i < plan.cores.size(); ++i) {
        hosts.cores = plan.cores[i];
        const Point point = measure(flows, curve.arrangement, hosts, plan.costs);
        curve.points[i].packets_per_second += point.packets_per_second / plan.rounds;
        curve.points[i].balance.busiest += point.balance.busiest / plan.rounds;
        curve.points[i].balance.jain += point.balance.jain / plan.rounds;
      }
  }
  return result;
}

}  // namespace

std::vector<MixResult> simulate(const Plan& plan) {
  std::vector<MixResult> results;
  results.reserve(plan.mixes.size());
  for (const Mix mix : plan.mixes) results.push_back(simulate_mix(plan, mix));
  return results;
}

}  // namespace culvert::scale_sim
