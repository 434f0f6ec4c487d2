#include "src/device/worker_request.h"

#include <gtest/gtest.h>

#include <string>

namespace culvert::device {
namespace {

TEST(WorkerRequest, TakesAutoANumberOrAList) {
  const auto automatic = parse_worker_request("auto");
  ASSERT_TRUE(automatic);
  EXPECT_FALSE(automatic->count.has_value());
  EXPECT_TRUE(automatic->cpus.empty());
  EXPECT_EQ(parse_worker_request("1")->count, 1u);
  EXPECT_EQ(parse_worker_request("128")->count, 128u);
  EXPECT_EQ(parse_worker_request("0-3,8")->cpus, (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_worker_request("7,2")->cpus, (std::vector<int>{7, 2})) << "in its order";
  EXPECT_EQ(parse_worker_request("4-4")->cpus, std::vector<int>{4}) << "one CPU, not four workers";
  for (const char* const text : {"auto", "7", "0,1,5", "4-4"})
    EXPECT_EQ(to_string(*parse_worker_request(text)), text) << "and writes it again";
}

TEST(WorkerRequest, RefusesAllElseAndSaysWhatMayStandThere) {
  for (const char* const text :
       {"", "0", "129", "-1", "two", "1,1", "3-1", "0-128", "1,", ",1", "1-", "0-2,2", "1 2"}) {
    const auto request = parse_worker_request(text);
    ASSERT_FALSE(request) << text;
    EXPECT_NE(request.error().context.find("use auto, 1 to 128, or a list"), std::string::npos) << text;
  }
}

TEST(WorkerRequest, ReadsListsAsTheKernelWritesThem) {
  EXPECT_EQ(parse_cpu_list("0-1,4\n"), (std::vector<int>{0, 1, 4}));
  EXPECT_EQ(parse_cpu_list("5\n"), std::vector<int>{5});
  EXPECT_EQ(parse_cpu_list(""), std::nullopt);
}

}  // namespace
}  // namespace culvert::device
