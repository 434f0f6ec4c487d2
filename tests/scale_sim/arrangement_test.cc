#include "bench/scale_sim/arrangement.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace culvert::scale_sim {
namespace {

using Kind = Arrangement::Kind;

Hosts hosts_of(uint32_t cores, Steering steering = Steering::rss) {
  Hosts hosts;
  hosts.cores = cores;
  hosts.steering = steering;
  hosts.tuple = {0xc0000201, 0xc6336401, 40000, 51820};
  return hosts;
}

std::set<uint32_t> all(const std::vector<Path>& paths, uint32_t Path::*what) {
  std::set<uint32_t> values;
  for (const Path& path : paths) values.insert(path.*what);
  return values;
}

class Paths : public ::testing::Test {
 protected:
  const std::vector<Flow> flows_ = make_flows(Mix::elephants, 5000, 1);
};

TEST_F(Paths, OfPlainWireGuardEndAtOneCore) {
  const auto paths = find_paths(flows_, {}, hosts_of(16));
  EXPECT_EQ(all(paths, &Path::receiver).size(), 1U);
  EXPECT_EQ(all(paths, &Path::port), std::set<uint32_t>{0});
  EXPECT_EQ(all(paths, &Path::sender).size(), 16U);
}

TEST_F(Paths, OverPortsUseEveryPortOfOneTunnel) {
  const auto paths = find_paths(flows_, {Kind::ports, 64, 0}, hosts_of(16));
  EXPECT_EQ(all(paths, &Path::port).size(), 64U);
  EXPECT_EQ(all(paths, &Path::tunnel), std::set<uint32_t>{0});
  EXPECT_GT(all(paths, &Path::receiver).size(), 8U);
}

TEST_F(Paths, OverAGroupShareNoTunnelBetweenCores) {
  for (const Steering steering : {Steering::rss, Steering::index}) {
    const auto paths = find_paths(flows_, {Kind::group, 8, 0}, hosts_of(16, steering));
    EXPECT_EQ(all(paths, &Path::tunnel).size(), 8U);
    std::map<uint32_t, std::set<uint32_t>> senders, receivers;
    for (const Path& path : paths) {
      EXPECT_EQ(path.port, path.tunnel);
      senders[path.tunnel].insert(path.sender);
      receivers[path.tunnel].insert(path.receiver);
    }
    for (const auto& [tunnel, cores] : senders) EXPECT_EQ(cores.size(), 1U);
    for (const auto& [tunnel, cores] : receivers) EXPECT_EQ(cores.size(), 1U);
  }
}

TEST_F(Paths, AvoidDeadMembersAndMoveNoOtherFlow) {
  const auto before = find_paths(flows_, {Kind::group, 4, 0}, hosts_of(8));
  const auto after = find_paths(flows_, {Kind::group, 4, 1}, hosts_of(8));
  for (size_t i = 0; i < flows_.size(); ++i) {
    EXPECT_LT(after[i].tunnel, 3U);
    if (before[i].tunnel < 3) EXPECT_EQ(after[i].tunnel, before[i].tunnel);
  }
}

TEST_F(Paths, BySteeringEndAtTheHomeOfEachMember) {
  const auto paths = find_paths(flows_, {Kind::group, 8, 0}, hosts_of(8, Steering::index));
  for (const Path& path : paths) EXPECT_EQ(path.receiver, path.tunnel);
  EXPECT_EQ(all(find_paths(flows_, {}, hosts_of(8, Steering::index)), &Path::receiver), std::set<uint32_t>{0});
}

TEST_F(Paths, OnOneCoreAreAllTheSame) {
  for (const Arrangement& arrangement : {Arrangement{}, {Kind::ports, 8, 0}, {Kind::group, 8, 0}})
    for (const Path& path : find_paths(flows_, arrangement, hosts_of(1))) {
      EXPECT_EQ(path.sender, 0U);
      EXPECT_EQ(path.receiver, 0U);
    }
}

TEST_F(Paths, KeepAFlowOnItsPortWhateverTheCores) {
  const auto few = find_paths(flows_, {Kind::ports, 8, 0}, hosts_of(2));
  const auto many = find_paths(flows_, {Kind::ports, 8, 0}, hosts_of(64));
  for (size_t i = 0; i < flows_.size(); ++i) EXPECT_EQ(few[i].port, many[i].port);
}

}  // namespace
}  // namespace culvert::scale_sim
