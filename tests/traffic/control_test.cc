#include "bench/traffic/control.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

namespace culvert::traffic {
namespace {

// A socket path of this test alone; removed with it.
class TemporaryPath {
 public:
  TemporaryPath() : directory_(::mkdtemp(template_)) {}
  ~TemporaryPath() {
    ::unlink(path().c_str());
    ::rmdir(template_);
  }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;

  std::string path() const { return directory_ + "/control"; }

 private:
  char template_[32] = "/tmp/lab_traffic_XXXXXX";
  std::string directory_;
};

// Serves in a thread until it goes out of scope; answers each line with itself in brackets.
class Serving {
 public:
  explicit Serving(const std::string& path)
      : poller_(std::move(*io::Poller::open())), server_(ControlServer::open(path, poller_)) {
    if (!server_) return;
    thread_ = std::thread([this] {
      std::array<io::PollEvent, 4> events;
      while (!ended_.load(std::memory_order_relaxed))
        for (const io::PollEvent& event : poller_.wait(events, std::chrono::milliseconds(5)))
          server_->serve(event.tag, poller_, [](std::string_view line) { return '<' + std::string(line) + '>'; });
    });
  }
  ~Serving() {
    ended_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
  }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

  const io::Result<ControlServer>& server() const { return server_; }

 private:
  io::Poller poller_;
  io::Result<ControlServer> server_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

TEST(Control, AnswersEveryLineOfEveryCaller) {
  const TemporaryPath temporary;
  const Serving serving(temporary.path());
  ASSERT_TRUE(serving.server());
  auto first = ControlClient::connect(temporary.path());
  auto second = ControlClient::connect(temporary.path());
  ASSERT_TRUE(first && second);
  for (const char* line : {"report", "reset", "", "a longer line with spaces"}) {
    for (auto* client : {&first, &second}) {
      const auto answer = (*client)->ask(line);
      ASSERT_TRUE(answer);
      EXPECT_EQ(*answer, '<' + std::string(line) + '>');
    }
  }
}

TEST(Control, TakesOverWhatADeadSinkLeft) {
  const TemporaryPath temporary;
  {
    auto poller = io::Poller::open();
    auto dead = ControlServer::open(temporary.path(), *poller);
    ASSERT_TRUE(dead);
    // Another name for the file, which keeps it there when the server goes.
    ASSERT_EQ(::link(temporary.path().c_str(), (temporary.path() + "2").c_str()), 0);
  }
  ASSERT_EQ(::rename((temporary.path() + "2").c_str(), temporary.path().c_str()), 0);
  const Serving serving(temporary.path());
  ASSERT_TRUE(serving.server());
  EXPECT_TRUE(ControlClient::connect(temporary.path()));
}

TEST(Control, LeavesALiveSinkItsSocket) {
  const TemporaryPath temporary;
  const Serving serving(temporary.path());
  const Serving another(temporary.path());
  ASSERT_FALSE(another.server());
  EXPECT_EQ(another.server().error().number, EADDRINUSE);
  EXPECT_TRUE(ControlClient::connect(temporary.path()));
}

TEST(Control, SaysWhatIsWrong) {
  struct Case {
    const char* name;
    std::string path;
    const char* says;
  };
  const Case cases[] = {
      {"nobody serves", "/tmp/lab_traffic_nobody", "lab_traffic sink"},
      {"no path", "", "1 to 107 bytes"},
      {"a path that is too long", std::string(200, 'x'), "1 to 107 bytes"},
  };
  for (const Case& c : cases) {
    const auto client = ControlClient::connect(c.path);
    ASSERT_FALSE(client) << c.name;
    EXPECT_NE(client.error().text().find(c.says), std::string::npos) << client.error().text();
  }
}

TEST(Control, RemovesItsFile) {
  const TemporaryPath temporary;
  { const Serving serving(temporary.path()); }
  struct stat status {};
  EXPECT_NE(::stat(temporary.path().c_str(), &status), 0);
}

}  // namespace
}  // namespace culvert::traffic
