// `culvert doctor`: prints what this host costs a tunnel.
#pragma once

#include <string>
#include <vector>

namespace culvert::daemon {

int run_doctor(const std::vector<std::string>& words);  // [ADDRESS]

}  // namespace culvert::daemon
