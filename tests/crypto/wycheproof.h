// The test vectors of Project Wycheproof. They are not part of this repository: the environment variable
// CULVERT_VECTORS names the directory that holds its JSON files.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace culvert::tests {

// Calls `check` for every test of the file, with the group that it stands in. False if the file is not there;
// the test then skips itself by CULVERT_FOR_EACH_WYCHEPROOF.
inline bool for_each_wycheproof(
    const std::string& file,
    const std::function<void(const nlohmann::json& group, const nlohmann::json& test)>& check) {
  const char* directory = std::getenv("CULVERT_VECTORS");
  if (directory == nullptr) return false;
  std::ifstream stream(std::string(directory) + "/" + file);
  if (!stream) return false;
  const auto vectors = nlohmann::json::parse(stream);
  for (const auto& group : vectors.at("testGroups")) {
    for (const auto& test : group.at("tests")) {
      SCOPED_TRACE(file + " test " + test.at("tcId").dump() + ": " + test.at("comment").get<std::string>());
      check(group, test);
    }
  }
  return true;
}

#define CULVERT_FOR_EACH_WYCHEPROOF(file, check)             \
  if (!culvert::tests::for_each_wycheproof((file), (check))) \
  GTEST_SKIP() << "no " << (file) << " ; set CULVERT_VECTORS to the directory that holds it"

}  // namespace culvert::tests
