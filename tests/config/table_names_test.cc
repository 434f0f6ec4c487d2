#include "src/config/table_names.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace culvert::config {
namespace {

class TableNamesTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(root_), nullptr); }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = std::string(root_) + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  char root_[32] = "/tmp/culvert-tables-XXXXXX";
};

TEST_F(TableNamesTest, KnowsTheKernelsOwnWithoutAnyFile) {
  EXPECT_EQ(find_table("main", root_), 254u);
  EXPECT_EQ(find_table("default", root_), 253u);
  EXPECT_EQ(find_table("local", root_), 255u);
  EXPECT_EQ(find_table("vpn", root_), std::nullopt);
}

TEST_F(TableNamesTest, ReadsWhatIpReads) {
  write("/etc/iproute2/rt_tables", "# reserved\n0\tunspec\n200 vpn # ours\n 0x12c\thex\n#7 comment\nnone broken\n\n12");
  write("/etc/iproute2/rt_tables.d/b.conf", "301 more\n");
  write("/etc/iproute2/rt_tables.d/ignored", "302 other\n");
  write("/usr/share/iproute2/rt_tables", "400 vpn\n401 distribution\n");
  EXPECT_EQ(find_table("vpn", root_), 200u) << "the administrator's goes before the distribution's";
  EXPECT_EQ(find_table("hex", root_), 300u);
  EXPECT_EQ(find_table("more", root_), 301u);
  EXPECT_EQ(find_table("distribution", root_), 401u);
  for (const char* const name : {"comment", "broken", "other", "unspec", "", "200"})
    EXPECT_EQ(find_table(name, root_), std::nullopt) << name;
}

}  // namespace
}  // namespace culvert::config
