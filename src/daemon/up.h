// The verbs of a gateway. Each takes the words behind it and yields the exit code.
#pragma once

#include <string>
#include <vector>

namespace culvert::daemon {

int run_up(const std::vector<std::string>& words);      // [-f] FILE|NAME...
int run_down(const std::vector<std::string>& words);    // FILE|NAME...
int run_reload(const std::vector<std::string>& words);  // FILE|NAME...
int run_check(const std::vector<std::string>& words);   // FILE|NAME...
int run_status(const std::vector<std::string>& words);  // [--json] [NAME...]

}  // namespace culvert::daemon
