#include "bench/scale_sim/flows.h"

#include <algorithm>
#include <cmath>

#include "bench/scale_sim/inner_flow.h"
#include "bench/scale_sim/random.h"

namespace culvert::scale_sim {
namespace {

constexpr double kParetoExponent = 1.2;
constexpr double kLongestMouse = 1000;
constexpr double kMiceOfMixed = 0.2;
constexpr uint32_t kFlowsPerElephant = 100;

double packets_of_mouse(Random& random) {
  return std::min(kLongestMouse, std::floor(std::pow(1 - random.share(), -1 / kParetoExponent)));
}

InnerFlow draw_flow(Random& random) {
  InnerFlow flow;
  flow.v6 = random.word() % 4 == 0;
  flow.source = random.word();
  flow.destination = random.word();
  flow.source_port = static_cast<uint16_t>(32768 + random.word() % 28232);  // as Linux chooses them
  flow.destination_port = random.word() % 4 == 0 ? 80 : 443;
  return flow;
}

// Makes the shares of the flows that are `elastic`, or of those that are not, add up to `sum`.
void scale_shares(std::vector<Flow>& flows, bool elastic, double sum) {
  double total = 0;
  for (const Flow& flow : flows) total += flow.elastic == elastic ? flow.share : 0;
  for (Flow& flow : flows)
    if (flow.elastic == elastic) flow.share *= sum / total;
}

}  // namespace

std::string_view name_of(Mix mix) {
  switch (mix) {
    case Mix::elephants:
      return "elephants";
    case Mix::mice:
      return "mice";
    case Mix::zipf:
      return "zipf";
    case Mix::mixed:
      break;
  }
  return "mixed";
}

uint32_t default_flows(Mix mix) {
  return mix == Mix::elephants ? 256 : 20000;
}

std::vector<Flow> make_flows(Mix mix, uint32_t count, uint64_t seed) {
  Random random(seed);
  const packet::FlowHashKey key = {{random.word(), random.word()}};
  std::vector<Flow> flows(count);
  for (uint32_t i = 0; i < count; ++i) {
    Flow& flow = flows[i];
    flow.hash = hash_of(draw_flow(random), key);
    flow.elastic = mix == Mix::elephants || (mix == Mix::mixed && i % kFlowsPerElephant == 0);
    flow.share = flow.elastic ? 1 : mix == Mix::zipf ? 1.0 / (i + 1) : packets_of_mouse(random);
  }
  const bool any_mouse = std::any_of(flows.begin(), flows.end(), [](const Flow& flow) { return !flow.elastic; });
  const double mice = mix == Mix::elephants || !any_mouse ? 0 : mix == Mix::mixed ? kMiceOfMixed : 1;
  scale_shares(flows, false, mice);
  scale_shares(flows, true, 1 - mice);
  return flows;
}

}  // namespace culvert::scale_sim
