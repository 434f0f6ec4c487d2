#include "bench/scale_sim/throughput.h"

#include <gtest/gtest.h>

#include "bench/scale_sim/simulation.h"

namespace culvert::scale_sim {
namespace {

using Kind = Arrangement::Kind;

constexpr double kRounding = 1e-9;

Plan plan_of(Mix mix, std::vector<uint32_t> cores) {
  Plan plan;
  plan.cores = std::move(cores);
  plan.arrangements = {{}, {Kind::ports, 8, 0}, {Kind::ports, 64, 0}, {Kind::group, 4, 0}, {Kind::group, 16, 2}};
  plan.mixes = {mix};
  plan.flows = mix == Mix::elephants ? 200 : 2000;
  plan.rounds = 2;
  return plan;
}

std::vector<Curve> curves_of(const Plan& plan) {
  return simulate(plan)[0].curves;
}

TEST(Throughput, OfOneCoreIsThatOfPlainWireGuardInEveryArrangement) {
  for (const Mix mix : kMixes)
    for (const Steering steering : {Steering::rss, Steering::index}) {
      Plan plan = plan_of(mix, {1});
      plan.steering = steering;
      for (const Curve& curve : curves_of(plan))
        EXPECT_NEAR(curve.points[0].packets_per_second / plan.costs.one_core_rate(), 1, kRounding)
            << name_of(mix) << ", " << curve.arrangement.name();
    }
}

TEST(Throughput, IsNeverMoreThanAllCoresCarry) {
  for (const Mix mix : kMixes)
    for (const NicModel model : {NicModel::mlx5, NicModel::ixgbe, NicModel::linux}) {
      Plan plan = plan_of(mix, {2, 3, 8, 40, 128});
      plan.nic.model = model;
      for (const Curve& curve : curves_of(plan))
        for (size_t i = 0; i < plan.cores.size(); ++i) {
          EXPECT_LE(curve.points[i].packets_per_second, plan.costs.one_core_rate() * plan.cores[i] * (1 + kRounding));
          EXPECT_GT(curve.points[i].packets_per_second, 0);
        }
    }
}

TEST(Throughput, OfPlainWireGuardDoesNotScaleAtTheReceiver) {
  for (const Mix mix : kMixes) {
    const Plan plan = plan_of(mix, {1, 2, 8, 128});
    const std::vector<Curve> curves = curves_of(plan);
    for (const Point& point : curves[0].points)
      EXPECT_LE(point.packets_per_second, plan.costs.inbound_rate() * (1 + kRounding));
  }
}

TEST(Throughput, GrowsWithPortsAndGroups) {
  const Plan plan = plan_of(Mix::mixed, {8});
  const auto curves = curves_of(plan);
  const double plain = curves[0].points[0].packets_per_second;
  EXPECT_GT(curves[2].points[0].packets_per_second, 4 * plain);    // 64 ports
  EXPECT_GT(curves[3].points[0].packets_per_second, 1.5 * plain);  // 4 tunnels
}

TEST(Throughput, OfAGroupOnAnyNicIsThatOfItsMembers) {
  Plan plan = plan_of(Mix::elephants, {64});
  plan.arrangements = {{Kind::group, 4, 0}, {Kind::group, 4, 2}};
  plan.steering = Steering::index;
  plan.costs.handover_ns = 0;
  const auto curves = curves_of(plan);
  EXPECT_NEAR(curves[0].points[0].packets_per_second / plan.costs.one_core_rate(), 4, kRounding);
  EXPECT_NEAR(curves[1].points[0].packets_per_second / plan.costs.one_core_rate(), 2, kRounding);
}

TEST(Throughput, OfOneFlowIsOneCoresAtMost) {
  for (const Mix mix : {Mix::elephants, Mix::zipf}) {
    Plan plan = plan_of(mix, {16});
    plan.flows = 1;
    for (const Curve& curve : curves_of(plan))
      EXPECT_LE(curve.points[0].packets_per_second, plan.costs.one_core_rate() * (1 + kRounding));
  }
}

TEST(Throughput, PaysForWordsThatSeveralCoresShare) {
  Plan plan = plan_of(Mix::mice, {16});
  plan.arrangements = {{Kind::ports, 64, 0}, {Kind::group, 16, 0}};
  plan.costs.shared_ns = 0;
  const auto free = curves_of(plan);
  plan.costs.shared_ns = 1000;
  plan.costs.batch = 4;
  plan.costs.wakeup_ns = 0;
  const auto dear = curves_of(plan);
  // A counter that moves for each batch of 4, once a microsecond at most, but stays in place for a sixteenth of them.
  EXPECT_LE(dear[0].points[0].packets_per_second, 4e6 * 16 / 15 * (1 + kRounding));
  EXPECT_GT(free[0].points[0].packets_per_second, dear[0].points[0].packets_per_second);
  EXPECT_GT(dear[1].points[0].packets_per_second, free[1].points[0].packets_per_second);  // no wake-ups, no sharing
}

TEST(Throughput, PaysForHandovers) {
  Plan plan = plan_of(Mix::mice, {8});
  plan.arrangements = {{Kind::group, 8, 0}};
  plan.steering = Steering::index;
  const double cheap = curves_of(plan)[0].points[0].packets_per_second;
  plan.costs.handover_ns = 20000;
  EXPECT_LT(curves_of(plan)[0].points[0].packets_per_second, cheap);
}

}  // namespace
}  // namespace culvert::scale_sim
