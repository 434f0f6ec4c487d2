// How much of everything that they share each of many users gets: weighted max-min fairness by progressive filling
// (Bertsekas and Gallager, Data Networks, section 6.5.2).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace culvert::scale_sim {

// A user of resources, each of which has a capacity of 1 at first.
struct User {
  struct Use {
    uint32_t resource = 0;
    double cost = 0;  // of a unit of rate, above 0
  };

  double weight = 0;        // the rate that it takes is weight x level
  uint32_t use_count = 0;   // of `uses`
  std::array<Use, 5> uses;  // no resource twice

  void add(uint32_t resource, double cost);
};

// Raises the level of all users together, from 0 to `highest_level`. A resource that has nothing left stops the users
// that it serves. Takes what they use from `left`, which has an entry for each resource, and returns their rates. Users
// that use nothing are refused by an assert if there is no highest level (infinity).
std::vector<double> share_fairly(const std::vector<User>& users, double highest_level, std::vector<double>& left);

}  // namespace culvert::scale_sim
