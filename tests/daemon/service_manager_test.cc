#include "src/daemon/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "io/fd.h"

namespace culvert::daemon {
namespace {

// A service manager's end, at a path or (with '@') at an abstract name.
io::Fd listen_at(const std::string& name) {
  io::Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name.front() == '@') address.sun_path[0] = 0;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length), 0) << std::strerror(errno);
  return fd;
}

std::string received(const io::Fd& fd) {
  char buffer[64];
  const ssize_t count = ::recv(fd.get(), buffer, sizeof buffer, 0);
  return count < 0 ? "" : std::string(buffer, static_cast<size_t>(count));
}

TEST(ServiceManager, HearsOfTheStateAtAPathAndAtAnAbstractName) {
  char folder[] = "/tmp/culvert-notify.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  for (const std::string& name : {std::string(folder) + "/socket", "@culvert-notify-" + std::to_string(::getpid())}) {
    const io::Fd manager = listen_at(name);
    const io::Status told = notify_service_manager(name.c_str(), "READY=1");
    EXPECT_TRUE(told) << name;
    EXPECT_EQ(received(manager), "READY=1") << name;
  }
  std::filesystem::remove_all(folder);
}

TEST(ServiceManager, IsNotNeeded) {
  EXPECT_TRUE(notify_service_manager(nullptr, "READY=1"));
  EXPECT_TRUE(notify_service_manager("", "READY=1"));
}

TEST(ServiceManager, RefusesWhatIsNoSocket) {
  EXPECT_FALSE(notify_service_manager("relative", "READY=1"));
  EXPECT_FALSE(notify_service_manager(("/" + std::string(200, 'x')).c_str(), "READY=1"));
  EXPECT_FALSE(notify_service_manager("/nonexistent/socket", "READY=1"));
}

}  // namespace
}  // namespace culvert::daemon
