#include "bench/scale_sim/fair_share.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace culvert::scale_sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kLeastDemand = 1e-300;  // rounding may take the last user's away

struct Resource {
  double left = 0;    // at `level`
  double level = 0;   // of the last change
  double demand = 0;  // of a unit of level, by the users that still grow
  size_t growing = 0;
  std::vector<uint32_t> users;

  [[nodiscard]] double full_at() const {
    return growing == 0 ? kNever : level + std::max(left, 0.0) / std::max(demand, kLeastDemand);
  }
  void rise_to(double higher) {
    left -= demand * (higher - level);
    level = higher;
  }
};

}  // namespace

void User::add(uint32_t resource, double cost) {
  if (cost <= 0) return;
  for (uint32_t i = 0; i < use_count; ++i)
    if (uses[i].resource == resource) {
      uses[i].cost += cost;
      return;
    }
  assert(use_count < uses.size());
  uses[use_count++] = {resource, cost};
}

std::vector<double> share_fairly(const std::vector<User>& users, double highest_level, std::vector<double>& left) {
  std::vector<Resource> resources(left.size());
  for (size_t i = 0; i < left.size(); ++i) resources[i].left = left[i];
  for (uint32_t i = 0; i < users.size(); ++i)
    for (uint32_t use = 0; use < users[i].use_count; ++use) {
      Resource& resource = resources[users[i].uses[use].resource];
      resource.demand += users[i].weight * users[i].uses[use].cost;
      ++resource.growing;
      resource.users.push_back(i);
    }

  std::vector<double> rates(users.size(), kNever);  // kNever: still grows
  while (true) {
    const auto next = std::min_element(resources.begin(), resources.end(),
                                       [](const Resource& a, const Resource& b) { return a.full_at() < b.full_at(); });
    if (next == resources.end()) break;
    const double level = next->full_at();
    if (level >= highest_level) break;
    for (const uint32_t i : next->users) {
      if (rates[i] != kNever) continue;
      rates[i] = users[i].weight * level;
      for (uint32_t use = 0; use < users[i].use_count; ++use) {
        Resource& resource = resources[users[i].uses[use].resource];
        resource.rise_to(level);
        resource.demand -= users[i].weight * users[i].uses[use].cost;
        --resource.growing;
      }
    }
  }
  for (size_t i = 0; i < users.size(); ++i)
    if (rates[i] == kNever) {
      assert(highest_level != kNever);
      rates[i] = users[i].weight * highest_level;
    }
  for (size_t i = 0; i < left.size(); ++i) {
    if (resources[i].growing > 0) resources[i].rise_to(highest_level);
    left[i] = std::max(resources[i].left, 0.0);
  }
  return rates;
}

}  // namespace culvert::scale_sim
