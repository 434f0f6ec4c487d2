#include "src/config/table_names.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "src/config/words.h"

namespace culvert::config {
namespace {

// Those of an administrator come first.
constexpr std::array<const char*, 3> kFolders = {"/etc/iproute2/", "/usr/share/iproute2/", "/usr/lib/iproute2/"};

std::optional<uint32_t> find_in(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string number, word;
    if (!(words >> number >> word) || word != name) continue;
    if (const auto found = parse_table_number(number)) return found;
  }
  return std::nullopt;
}

std::vector<std::string> files_of(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "rt_tables.d", none))
    if (entry.path().extension() == ".conf") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  files.insert(files.begin(), folder + "rt_tables");
  return files;
}

}  // namespace

std::optional<uint32_t> find_table(std::string_view name, const std::string& root) {
  constexpr std::array<std::pair<std::string_view, uint32_t>, 3> kAlways = {
      {{"main", 254}, {"default", 253}, {"local", 255}}};
  for (const auto& [known, number] : kAlways)
    if (name == known) return number;
  for (const char* const folder : kFolders)
    for (const std::string& file : files_of(root + folder))
      if (const auto found = find_in(file, name)) return found;
  return std::nullopt;
}

}  // namespace culvert::config
