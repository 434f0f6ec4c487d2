#include "bench/scale_sim/throughput.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "bench/scale_sim/fair_share.h"

namespace culvert::scale_sim {
namespace {

// How many cores serve each tunnel, on one side.
std::vector<size_t> cores_of_tunnels(const std::vector<Path>& paths, uint32_t tunnels, uint32_t Path::*side) {
  std::vector<std::set<uint32_t>> cores(tunnels);
  for (const Path& path : paths) cores[path.tunnel].insert(path.*side);
  std::vector<size_t> counts;
  counts.reserve(tunnels);
  for (const auto& of_tunnel : cores) counts.push_back(of_tunnel.size());
  return counts;
}

// Resources: the sender's cores, the receiver's cores, the send counters, the replay windows.
class Machine {
 public:
  Machine(const std::vector<Path>& paths, uint32_t tunnels, uint32_t cores, const Costs& costs)
      : tunnels_(tunnels),
        cores_(cores),
        costs_(costs),
        senders_(cores_of_tunnels(paths, tunnels, &Path::sender)),
        receivers_(cores_of_tunnels(paths, tunnels, &Path::receiver)) {}

  [[nodiscard]] size_t resources() const { return 2 * (size_t{cores_} + tunnels_); }

  [[nodiscard]] User user(const Path& path, double weight) const {
    User user;
    user.weight = weight;
    const double wakeup = costs_.wakeup_ns / costs_.batch;
    const double sent = shared(senders_[path.tunnel]), received = shared(receivers_[path.tunnel]);
    user.add(path.sender, 1e-9 * (costs_.outbound_ns + wakeup + sent));
    user.add(cores_ + path.receiver, 1e-9 * (costs_.inbound_ns + wakeup + received));
    user.add(2 * cores_ + path.tunnel, 1e-9 * sent);
    user.add(2 * cores_ + tunnels_ + path.tunnel, 1e-9 * received);
    if (path.nic_core != path.receiver)
      for (const uint32_t core : {path.nic_core, path.receiver})
        user.add(cores_ + core, 1e-9 * costs_.handover_ns / costs_.batch);
    return user;
  }

 private:
  // Of a packet: the words move unless the batch before was the same core's.
  [[nodiscard]] double shared(size_t cores) const {
    const auto count = static_cast<double>(cores);
    return costs_.shared_ns / costs_.batch * (count - 1) / count;
  }

  uint32_t tunnels_, cores_;
  const Costs& costs_;
  std::vector<size_t> senders_, receivers_;
};

}  // namespace

double packets_per_second(const std::vector<Flow>& flows, const std::vector<Path>& paths, uint32_t tunnels,
                          uint32_t cores, const Costs& costs) {
  const Machine machine(paths, tunnels, cores, costs);
  const double all_cores = cores * costs.one_core_rate();
  std::vector<User> asking, elastic;
  for (size_t i = 0; i < flows.size(); ++i)
    if (flows[i].elastic)
      elastic.push_back(machine.user(paths[i], 1));
    else
      asking.push_back(machine.user(paths[i], flows[i].share * all_cores));

  std::vector<double> left(machine.resources(), 1.0);
  double sum = 0;
  for (const double rate : share_fairly(asking, 1, left)) sum += rate;
  for (const double rate : share_fairly(elastic, std::numeric_limits<double>::infinity(), left)) sum += rate;
  return sum;
}

}  // namespace culvert::scale_sim
