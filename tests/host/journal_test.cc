#include "src/host/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(folder_), nullptr); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file() const { return std::string(folder_) + "/wg0.journal"; }

  char folder_[32] = "/tmp/culvert-journal-XXXXXX";
};

TEST_F(JournalTest, TellsTheNextProcessWhatADeadOneLeft) {
  {
    auto journal = Journal::open("wg0", folder_);
    ASSERT_TRUE(journal);
    EXPECT_THAT(journal->lines(), IsEmpty());
    EXPECT_TRUE(journal->write({"rule 4 51820", "a longer line that goes again"}));
    EXPECT_TRUE(journal->write({"rule 4 51820", "dns"}));
  }
  auto next = Journal::open("wg0", folder_);
  ASSERT_TRUE(next);
  EXPECT_THAT(next->lines(), ElementsAre("rule 4 51820", "dns"));
  next->remove();
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(JournalTest, BelievesNothingBehindTheEndOfATextThatWasCutShort) {
  std::string text;
  {
    auto journal = Journal::open("wg0", folder_);
    ASSERT_TRUE(journal && journal->write({"dns"}));
    std::ifstream file(this->file());
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::ofstream(file()) << text << "echo\nhook rm -rf /\nrule 4 51820\n";  // of a longer one before
  const auto next = Journal::open("wg0", folder_);
  ASSERT_TRUE(next);
  EXPECT_THAT(next->lines(), ElementsAre("dns"));
}

TEST_F(JournalTest, IsHeldByOneLivingProcess) {
  auto holder = Journal::open("wg0", folder_);
  ASSERT_TRUE(holder);
  const auto second = Journal::open("wg0", folder_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EBUSY);
  EXPECT_TRUE(Journal::open("wg1", folder_));
}

TEST_F(JournalTest, SaysNothingOfAnotherNetworkNamespace) {
  std::ofstream(file()) << "netns 1\nrule 4 51820\n";
  const auto journal = Journal::open("wg0", folder_);
  ASSERT_TRUE(journal);
  EXPECT_THAT(journal->lines(), IsEmpty());
}

TEST_F(JournalTest, FollowsNoLink) {
  std::filesystem::create_symlink("/etc/passwd", file());
  EXPECT_FALSE(Journal::open("wg0", folder_));
}

// Whatever `look` finds in a network namespace of its own, in a process of its own.
template <typename Look>
bool holds_elsewhere(Look look) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(test::enter_own_namespaces(CLONE_NEWNET) && look() ? 0 : 1);
  int status = 1;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

TEST_F(JournalTest, KeepsWhatADeadProcessLeftInAnotherNetworkNamespace) {
  { ASSERT_TRUE(Journal::open("wg0", folder_)->write({"hook a tunnel's", "dns"})); }
  EXPECT_TRUE(holds_elsewhere([this] {
    auto journal = Journal::open("wg0", folder_);
    if (!journal || !journal->lines().empty() || !journal->write({"rule 6 1"})) return false;
    journal->remove();
    return true;
  }));
  EXPECT_TRUE(holds_elsewhere([this] { return bool{Journal::open("wg0", folder_)->write({"rule 4 51820"})}; }));
  auto journal = Journal::open("wg0", folder_);
  ASSERT_TRUE(journal);
  EXPECT_THAT(journal->lines(), ElementsAre("hook a tunnel's", "dns"));
  journal->remove();
  EXPECT_TRUE(std::filesystem::exists(file())) << "the other namespace may still be there";
}

TEST_F(JournalTest, ForgetsNamespacesThatAreManyOthersAgo) {
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(holds_elsewhere([this] { return bool{Journal::open("wg0", folder_)->write({"dns"})}; }));
  EXPECT_LT(std::filesystem::file_size(file()), 1000U);
}

TEST_F(JournalTest, SaysThatALivingProcessOfAnotherNetworkNamespaceHoldsIt) {
  auto holder = Journal::open("wg0", folder_);
  ASSERT_TRUE(holder && holder->write({}));
  EXPECT_TRUE(holds_elsewhere([this] {
    const auto second = Journal::open("wg0", folder_);
    return !second && second.error().number == EXDEV;
  }));
}

}  // namespace
}  // namespace culvert::host
