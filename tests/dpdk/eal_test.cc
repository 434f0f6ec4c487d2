#include "dpdk/eal.h"

#include <gtest/gtest.h>

namespace culvert::dpdk {
namespace {

using Words = std::vector<std::string>;

TEST(EalArguments, AreSplitAtBlanksOutsideOfQuotes) {
  const std::pair<const char*, Words> cases[] = {
      {"", {}},
      {"  ", {}},
      {"--no-pci", {"--no-pci"}},
      {" -a  0000:01:00.0\t-m 512 ", {"-a", "0000:01:00.0", "-m", "512"}},
      {"--vdev='net_tap0,iface=a b'", {"--vdev=net_tap0,iface=a b"}},
      {"'' \"it's\"", {"", "it's"}},
  };
  for (const auto& [text, words] : cases) {
    const auto split = split_arguments(text);
    ASSERT_TRUE(split) << text;
    EXPECT_EQ(*split, words) << text;
  }
}

TEST(EalArguments, WithAQuoteThatDoesNotEndAreAnError) {
  const auto split = split_arguments("--vdev='net_tap0");
  ASSERT_FALSE(split);
  EXPECT_NE(split.error().text().find("no second '"), std::string::npos) << split.error().text();
}

TEST(Eal, SaysThatAnArgumentIsWrong) {
  const auto eal = Eal::start({"--no-pci", "--no-huge", "--no-shconf", "--no-such-argument"});
  ASSERT_FALSE(eal);
  EXPECT_NE(eal.error().text().find("start DPDK"), std::string::npos);
}

}  // namespace
}  // namespace culvert::dpdk
