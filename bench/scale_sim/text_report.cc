#include <algorithm>
#include <bit>
#include <cmath>

#include "bench/scale_sim/print.h"
#include "bench/scale_sim/report.h"

namespace culvert::scale_sim {
namespace {

constexpr size_t kColumnsOfTable = 4;  // arrangements side by side within 80 columns
constexpr int kPlotRows = 15;
constexpr int kPlotColumns = 66;

char mark_of(size_t curve) {
  return static_cast<char>(curve < 26 ? 'A' + curve : 'a' + (curve - 26) % 26);
}

bool in_table(const Plan& plan, size_t i) {
  return std::has_single_bit(plan.cores[i]) || i + 1 == plan.cores.size() || plan.cores.size() <= 8;
}

std::string table(const Plan& plan, const MixResult& result, size_t first) {
  const size_t last = std::min(first + kColumnsOfTable, result.curves.size());
  std::string text = "    ", heads = "core";
  for (size_t curve = first; curve < last; ++curve) {
    text += print("   %c %-14.14s", mark_of(curve), result.curves[curve].arrangement.name().c_str());
    heads += "   Gb/s   busy Jain";
  }
  text += "\n" + heads + "\n";
  for (size_t i = 0; i < plan.cores.size(); ++i) {
    if (!in_table(plan, i)) continue;
    text += print("%4u", plan.cores[i]);
    for (size_t curve = first; curve < last; ++curve) {
      const Point& point = result.curves[curve].points[i];
      const double gbps = plan.costs.gbps(point.packets_per_second);
      text += print(" %6.*f %5.1f%% %4.2f", gbps < 1000 ? 1 : 0, gbps, 100 * point.balance.busiest, point.balance.jain);
    }
    text += "\n";
  }
  return text;
}

// Throughput as a multiple of one core's, both axes logarithmic: what scales perfectly is the diagonal of dots.
std::string plot(const Plan& plan, const MixResult& result) {
  const double widest = std::max(1.0, std::log2(plan.cores.back()));
  std::vector<std::string> rows(kPlotRows, std::string(kPlotColumns, ' '));
  const auto put = [&](double cores, double multiple, char mark) {
    const auto column = std::lround(std::log2(cores) / widest * (kPlotColumns - 1));
    const auto height = std::lround(std::log2(std::max(multiple, 1.0)) / widest * (kPlotRows - 1));
    char& at = rows[kPlotRows - 1 - std::clamp(height, 0L, long{kPlotRows - 1})][column];
    at = at == ' ' || at == '.' || at == mark ? mark : '*';
  };
  for (int i = 0; i < kPlotColumns; ++i) {
    const double cores = std::exp2(widest * i / (kPlotColumns - 1));
    put(cores, cores, '.');
  }
  for (size_t curve = 0; curve < result.curves.size(); ++curve)
    for (size_t i = 0; i < plan.cores.size(); ++i)
      put(plan.cores[i], result.curves[curve].points[i].packets_per_second / plan.costs.one_core_rate(),
          mark_of(curve));

  std::string text;
  for (int row = 0; row < kPlotRows; ++row) {
    const double multiple = std::exp2(widest * (kPlotRows - 1 - row) / (kPlotRows - 1));
    text += (row % 2 == 0 ? print("%7.1fx |", multiple) : std::string("         |")) + rows[row] + "\n";
  }
  text += "         +" + std::string(kPlotColumns, '-') + "\n";
  std::string axis(kPlotColumns + 12, ' ');
  for (uint32_t cores = 1; cores <= plan.cores.back(); cores *= 2) {
    const std::string label = std::to_string(cores);
    const auto column = std::lround(std::log2(cores) / widest * (kPlotColumns - 1));
    axis.replace(10 + column - (label.size() - 1) / 2, label.size(), label);
  }
  axis.erase(axis.find_last_not_of(' ') + 1);
  return text + axis + "\n    cores, against throughput in multiples of one core; . perfect, * several\n";
}

}  // namespace

std::string describe(const Plan& plan) {
  static constexpr const char* kModels[] = {"mlx5", "ixgbe", "linux", "rps"};
  static constexpr const char* kFields[] = {"l3", "l4", "l4-source-only"};
  const Nic nic(plan.nic, plan.cores.back(), {});
  const Costs& costs = plan.costs;
  std::string text =
      print("NIC %s, RSS over %s: %u cores, %u queues, %zu table entries\n", kModels[static_cast<int>(plan.nic.model)],
            kFields[static_cast<int>(plan.nic.fields)], plan.cores.back(), nic.queues(), nic.table_entries());
  text += print("ns a packet of %g bytes: %g out, %g in; a core carries %.1f Gb/s\n", costs.bytes, costs.outbound_ns,
                costs.inbound_ns, costs.gbps(costs.one_core_rate()));
  text += print("ns a batch of %g packets: %g wake-up, %g handover, %g shared\n", costs.batch, costs.wakeup_ns,
                costs.handover_ns, costs.shared_ns);
  text +=
      print("workers by %s; means of %u rounds, seed %llu\n", plan.steering == Steering::rss ? "RSS" : "receiver index",
            plan.rounds, static_cast<unsigned long long>(plan.seed));
  return text;
}

std::string text_report(const Plan& plan, const std::vector<MixResult>& results) {
  std::string text = describe(plan);
  for (const MixResult& result : results) {
    text += print("\n%s, %u flows (busy: the busiest core's share; Jain: 1 at best)\n",
                  std::string(name_of(result.mix)).c_str(), result.flows);
    for (size_t first = 0; first < result.curves.size(); first += kColumnsOfTable)
      text += table(plan, result, first) + "\n";
    text += plot(plan, result);
  }
  return text;
}

}  // namespace culvert::scale_sim
