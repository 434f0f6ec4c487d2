#include "src/daemon/cpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace culvert::daemon {
namespace {

using Cpus = std::vector<int>;

TEST(Cpus, RunsOneWorkerForEachUsableCpuUnlessToldOtherwise) {
  const HostCpus host{{0, 1, 5}, {}, std::nullopt};
  const auto plan = plan_workers({}, host);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->count, 3u);
  EXPECT_TRUE(plan->cpus.empty()) << "kept nowhere";
  EXPECT_FALSE(plan->insisted);
  EXPECT_TRUE(plan->balanced);
  EXPECT_EQ(plan_workers({}, {{0, 1, 5}, {}, 2})->count, 2u) << "the control group's quota";
  EXPECT_EQ(plan_workers({}, {Cpus(300, 0), {}, std::nullopt})->count, 128u);
  EXPECT_EQ(plan_workers({.count = 7, .cpus = {}}, host)->count, 7u) << "more than there are CPUs";
}

TEST(Cpus, KeepsEachWorkerOfAListOnItsCpu) {
  const HostCpus host{{0, 1, 2, 3}, {{0, 1}, {2, 3}}, 1};
  const auto plan = plan_workers({.count = {}, .cpus = {3, 1}}, host);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->count, 2u);
  EXPECT_EQ(plan->cpus, (std::vector<Cpus>{{3}, {1}}));
  EXPECT_FALSE(plan->balanced) << "whoever names CPUs wants these to serve";
  const auto refused = plan_workers({.count = {}, .cpus = {3, 4}}, host);
  EXPECT_NE(refused.error().context.find("CPU 4"), std::string::npos);
}

TEST(Cpus, KeepsWorkersOnTheirNodesWhereThereAreSeveral) {
  const auto plan = plan_workers({}, {{1, 2, 3}, {{0, 1}, {2, 3}}, std::nullopt});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->cpus, (std::vector<Cpus>{{1}, {2, 3}, {2, 3}}));
  EXPECT_TRUE(plan_workers({}, {{0, 1}, {{0, 1}, {2, 3}}, std::nullopt})->cpus.empty()) << "all on one";
}

TEST(Cpus, ReadsTheQuotaOfAControlGroup) {
  EXPECT_EQ(parse_cpu_max("max 100000"), std::nullopt);
  EXPECT_EQ(parse_cpu_max("250000 100000"), 3u);
  EXPECT_EQ(parse_cpu_max("20000 100000"), 1u);
  EXPECT_EQ(parse_cpu_max(""), std::nullopt);
  EXPECT_EQ(parse_cpu_max("5 0"), std::nullopt);
}

TEST(Cpus, ReadsWhatTheHostSays) {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / ("culvert-cpus-" + std::to_string(getpid()));
  const auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  write("proc/self/cgroup", "1:name=x:/y\n0::/a/b\n");
  write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  write("sys/devices/system/node/node0/cpulist", "0-1,4\n");
  write("sys/devices/system/node/node1/cpulist", "2-3\n");
  const HostCpus host = read_host_cpus(root);
  EXPECT_FALSE(host.usable.empty());
  EXPECT_EQ(host.quota, 2u);
  EXPECT_EQ(host.nodes, (std::vector<Cpus>{{0, 1, 4}, {2, 3}}));
  std::filesystem::remove_all(root);
  const HostCpus nothing = read_host_cpus(root);
  EXPECT_EQ(nothing.quota, std::nullopt) << "no /proc";
  EXPECT_TRUE(nothing.nodes.empty());
}

}  // namespace
}  // namespace culvert::daemon
