#include "src/uapi/socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

namespace culvert::uapi {
namespace {

using ::testing::HasSubstr;

class UapiSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/culvert_socket_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    top_ = pattern;
    directory_ = top_ + "/wireguard";
    path_ = directory_ + "/wgt0.sock";
  }
  void TearDown() override { std::filesystem::remove_all(top_); }

  static mode_t mode_of(const std::string& path) {
    struct stat file {};
    return ::lstat(path.c_str(), &file) == 0 ? file.st_mode & 07777 : 0;
  }

  std::string top_, directory_, path_;
};

TEST_F(UapiSocketTest, CreatesDirectoryAndSocketForRootAlone) {
  const mode_t before = ::umask(0027);
  const auto fd = open_uapi_socket("wgt0", directory_);
  ASSERT_TRUE(fd) << fd.error().text();
  EXPECT_EQ(::umask(before), 0027u) << "the umask is as before";
  EXPECT_EQ(mode_of(directory_), 0755u);
  EXPECT_EQ(mode_of(path_), 0700u);
  EXPECT_EQ(uapi_socket_file("wgt0", directory_), path_);
}

TEST_F(UapiSocketTest, RefusesASocketThatIsServed) {
  const auto first = open_uapi_socket("wgt0", directory_);
  ASSERT_TRUE(first);
  const auto second = open_uapi_socket("wgt0", directory_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EADDRINUSE);
  EXPECT_THAT(second.error().text(), HasSubstr(path_ + ": another daemon serves this interface"));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UapiSocketTest, ReplacesASocketThatIsDead) {
  {
    const auto dead = open_uapi_socket("wgt0", directory_);
    ASSERT_TRUE(dead);
  }
  ASSERT_TRUE(std::filesystem::exists(path_)) << "closing leaves the file";
  const auto fd = open_uapi_socket("wgt0", directory_);
  EXPECT_TRUE(fd) << fd.error().text();
}

TEST_F(UapiSocketTest, NeverRefusesAtItsName) {
  std::filesystem::create_directories(directory_);
  for (int round = 0; round < 300; ++round) {
    std::atomic<bool> refused{false};
    std::thread client([&] {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::copy(path_.begin(), path_.end(), address.sun_path);
      for (;;) {
        const io::Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
        if (errno == ECONNREFUSED) refused = true;
      }
    });
    const auto fd = open_uapi_socket("wgt0", directory_);
    client.join();
    ASSERT_TRUE(fd);
    EXPECT_FALSE(refused) << "round " << round;
    std::filesystem::remove(path_);
  }
}

TEST_F(UapiSocketTest, FindsTheFileOfASocketThatSomebodyElseBound) {
  std::filesystem::create_directories(directory_);
  const io::Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path_.begin(), path_.end(), address.sun_path);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(uapi_socket_path(fd.get()), path_);
}

TEST_F(UapiSocketTest, LeavesAFileOfAnotherKindAlone) {
  std::filesystem::create_directories(directory_);
  std::ofstream(path_) << "precious";
  const auto fd = open_uapi_socket("wgt0", directory_);
  ASSERT_FALSE(fd);
  EXPECT_THAT(fd.error().text(), HasSubstr("something else has that name; remove it"));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(UapiSocketTest, SaysWhatFails) {
  EXPECT_THAT(open_uapi_socket("wgt0", "/proc/culvert").error().text(),
              HasSubstr("create the UAPI directory /proc/culvert"));
  EXPECT_EQ(open_uapi_socket("wgt0", top_ + "/" + std::string(100, 'x')).error().number, ENAMETOOLONG);
}

TEST_F(UapiSocketTest, KnowsSocketsWithoutAFile) {
  const io::Fd unnamed(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(uapi_socket_path(unnamed.get()), "");
  const io::Fd udp(::socket(AF_INET, SOCK_DGRAM, 0));
  EXPECT_EQ(uapi_socket_path(udp.get()), "");
  EXPECT_EQ(uapi_socket_path(-1), "");
  const io::Fd abstract(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_EQ(::bind(abstract.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)), 0);
  EXPECT_EQ(uapi_socket_path(abstract.get()), "");
}

}  // namespace
}  // namespace culvert::uapi
