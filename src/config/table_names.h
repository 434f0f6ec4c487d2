// The names of routing tables, as ip(8) knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace culvert::config {

// The number of a table by its name: main, default and local, and those of iproute2's rt_tables and rt_tables.d in
// /etc and, where newer versions keep theirs, below /usr. Reads these files; one that cannot be read has no names.
// `root` stands before the paths, for tests.
std::optional<uint32_t> find_table(std::string_view name, const std::string& root = "");

}  // namespace culvert::config
