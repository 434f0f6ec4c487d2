#include "bench/scale_sim/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

namespace culvert::scale_sim {
namespace {

using ::testing::HasSubstr;
using Kind = Arrangement::Kind;

Plan small_plan() {
  Plan plan;
  plan.cores = {1, 2, 3, 4, 6, 8, 12, 16, 128};
  plan.arrangements = {{}, {Kind::ports, 8, 0}, {Kind::group, 4, 0}, {Kind::group, 256, 1}, {Kind::ports, 4096, 0}};
  plan.mixes = {Mix::mixed, Mix::zipf};
  plan.flows = 300;
  plan.rounds = 1;
  return plan;
}

// Eats an element's inside, NAME ATTRIBUTE="VALUE"..., and returns its name, or "" if it is none.
std::string name_of_element(std::string inside) {
  static const std::string kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:";
  const size_t end = std::min(inside.find_first_not_of(kLetters), inside.size());
  const std::string name = inside.substr(0, end);
  inside.erase(0, end);
  while (!inside.empty()) {
    const size_t start = inside.find_first_not_of(' '), quote = inside.find("=\"");
    if (start == 0 || start == std::string::npos || quote == std::string::npos) return "";
    const size_t close = inside.find('"', quote + 2);
    if (inside.find_first_not_of(kLetters, start) != quote || close == std::string::npos) return "";
    inside.erase(0, close + 1);
  }
  return name;
}

// Every element is closed in its turn, attributes are quoted, and < and & stand for nothing else.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  size_t at = 0;
  while ((at = xml.find('<', at)) != std::string::npos) {
    const size_t end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    std::string inside = xml.substr(at + 1, end - at - 1);
    const bool closes = inside[0] == '/', alone = inside.back() == '/';
    if (closes) inside.erase(0, 1);
    if (alone) inside.pop_back();
    const std::string name = name_of_element(inside);
    ASSERT_NE(name, "") << inside;
    if (closes) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), name);
      open.pop_back();
    } else if (!alone) {
      open.push_back(name);
    }
    at = end + 1;
    if (open.empty()) EXPECT_EQ(xml.substr(at), "\n");
  }
  EXPECT_TRUE(open.empty());
  for (at = xml.find('&'); at != std::string::npos; at = xml.find('&', at + 1))
    EXPECT_TRUE(xml.compare(at, 4, "&lt;") == 0 || xml.compare(at, 4, "&gt;") == 0 || xml.compare(at, 5, "&amp;") == 0);
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Report, AsSvgIsWellFormed) {
  const Plan plan = small_plan();
  const std::string svg = svg_report(plan, simulate(plan));
  expect_well_formed(svg);
  EXPECT_EQ(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0), 0U);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_EQ(count(svg, "<polyline"), 2 * 3 * (plan.arrangements.size() + 1));
  EXPECT_EQ(count(svg, "<circle"), 2 * 3 * plan.arrangements.size() * plan.cores.size());
}

TEST(Report, AsSvgOfOneCoreIsWellFormed) {
  Plan plan = small_plan();
  plan.cores = {1};
  const std::string svg = svg_report(plan, simulate(plan));
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(Report, AsTextFitsInto80Columns) {
  Plan plan = small_plan();
  plan.nic = {NicModel::ixgbe, HashFields::l4_source_only, 512};
  plan.steering = Steering::index;
  plan.rounds = 10;
  std::istringstream text(text_report(plan, simulate(plan)));
  for (std::string line; std::getline(text, line);) EXPECT_LE(line.size(), 80U) << line;
}

TEST(Report, AsTextNamesEveryArrangement) {
  const Plan plan = small_plan();
  const std::string text = text_report(plan, simulate(plan));
  for (const char* name : {"plain", "8 ports", "4096 ports", "group of 4", "group of 256", "mixed", "zipf"})
    EXPECT_THAT(text, HasSubstr(name));
}

TEST(Report, AsTextOfOneCoreHasAPlotToo) {
  Plan plan = small_plan();
  plan.cores = {1};
  EXPECT_THAT(text_report(plan, simulate(plan)), HasSubstr("1.0x |*"));
}

TEST(Report, AsJsonHoldsAllPoints) {
  const Plan plan = small_plan();
  const auto results = simulate(plan);
  const auto document = nlohmann::json::parse(json_report(plan, results));
  ASSERT_EQ(document["mixes"].size(), 2U);
  const auto& curve = document["mixes"][1]["curves"][2];
  EXPECT_EQ(document["mixes"][1]["mix"], "zipf");
  EXPECT_EQ(curve["arrangement"], "group of 4");
  ASSERT_EQ(curve["points"].size(), plan.cores.size());
  EXPECT_EQ(curve["points"][5]["cores"], 8);
  EXPECT_DOUBLE_EQ(curve["points"][5]["pps"], results[1].curves[2].points[5].packets_per_second);
  EXPECT_DOUBLE_EQ(curve["points"][5]["jain"], results[1].curves[2].points[5].balance.jain);
}

TEST(Report, IsTheSameForTheSameSeed) {
  Plan plan = small_plan();
  const std::string once = json_report(plan, simulate(plan));
  EXPECT_EQ(json_report(plan, simulate(plan)), once);
  plan.seed = 2;
  EXPECT_NE(json_report(plan, simulate(plan)), once);
}

}  // namespace
}  // namespace culvert::scale_sim
