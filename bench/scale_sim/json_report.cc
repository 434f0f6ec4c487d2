#include <nlohmann/json.hpp>

#include "bench/scale_sim/report.h"

namespace culvert::scale_sim {

using nlohmann::ordered_json;

std::string json_report(const Plan& plan, const std::vector<MixResult>& results) {
  const Costs& costs = plan.costs;
  ordered_json document = {
      {"plan",
       {{"described", describe(plan)},
        {"seed", plan.seed},
        {"rounds", plan.rounds},
        {"costs",
         {{"outbound", costs.outbound_ns},
          {"inbound", costs.inbound_ns},
          {"wakeup", costs.wakeup_ns},
          {"handover", costs.handover_ns},
          {"shared", costs.shared_ns},
          {"batch", costs.batch},
          {"bytes", costs.bytes}}},
        {"one_core_pps", costs.one_core_rate()}}},
      {"mixes", ordered_json::array()},
  };
  for (const MixResult& result : results) {
    ordered_json curves = ordered_json::array();
    for (const Curve& curve : result.curves) {
      ordered_json points = ordered_json::array();
      for (size_t i = 0; i < plan.cores.size(); ++i) {
        const Point& point = curve.points[i];
        points.push_back({{"cores", plan.cores[i]},
                          {"pps", point.packets_per_second},
                          {"gbps", costs.gbps(point.packets_per_second)},
                          {"busiest", point.balance.busiest},
                          {"jain", point.balance.jain}});
      }
      curves.push_back({{"arrangement", curve.arrangement.name()}, {"points", points}});
    }
    document["mixes"].push_back({{"mix", name_of(result.mix)}, {"flows", result.flows}, {"curves", curves}});
  }
  return document.dump(1) + "\n";
}

}  // namespace culvert::scale_sim
