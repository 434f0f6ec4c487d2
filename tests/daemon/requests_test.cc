#include "src/daemon/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/own_namespace.h"

namespace culvert::daemon {
namespace {

using ::testing::ElementsAre;

constexpr std::chrono::seconds kPatience{30};

class RequestsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(folder_), nullptr);
    auto opened = RequestServer::open(folder_);
    ASSERT_TRUE(opened);
    server_ = std::move(*opened);
    ASSERT_TRUE(server_->listen("wg0"));
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  io::Fd say(const std::string& text) const {
    io::Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    request_socket("wg0", folder_).copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    return client;
  }

  // Does all that there is to do: nobody else speaks.
  void handle_all() {
    while (test::wait_readable(server_->fd(), std::chrono::milliseconds(0))) server_->handle_events();
  }

  std::vector<std::string> take_verbs() {
    std::vector<std::string> verbs;
    for (Request request = server_->next(any); request.client != 0; request = server_->next(any))
      verbs.push_back(request.verb);
    return verbs;
  }

  static bool any(const Request& request) {
    (void)request;
    return true;
  }

  char folder_[32] = "/tmp/culvert-requests-XXXXXX";
  std::unique_ptr<RequestServer> server_;
};

TEST_F(RequestsTest, AnswersAClient) {
  io::Result<Reply> reply = Reply{};
  std::thread client([&] { reply = ask("wg0", "reload", folder_); });
  Request request;
  while (request.client == 0) {
    ASSERT_TRUE(test::wait_readable(server_->fd(), kPatience));
    server_->handle_events();
    request = server_->next(any);
  }
  EXPECT_EQ(request.interface_name, "wg0");
  EXPECT_EQ(request.verb, "reload");
  EXPECT_EQ(request.process, ::getpid());
  server_->reply(request.client, 1, "a file is wrong\n");
  client.join();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->exit_code, 1);
  EXPECT_EQ(reply->text, "a file is wrong\n");
}

TEST_F(RequestsTest, TakesOneRequestOfAClientWhoSaysMoreThanThat) {
  const io::Fd client = say("down\nreload\n");
  handle_all();
  EXPECT_THAT(take_verbs(), ElementsAre("down"));
}

TEST_F(RequestsTest, TakesNoSecondRequestFromWhatAClientLeavesUnreadAsItHangsUp) {
  io::Fd client = say("down\n" + std::string(200, 'x'));
  handle_all();
  EXPECT_THAT(take_verbs(), ElementsAre("down"));
  client.reset();
  server_->handle_events();
  EXPECT_THAT(take_verbs(), ElementsAre());
}

TEST_F(RequestsTest, ForgetsAClientWhoHangsUpBeforeAnybodyLooks) {
  say("down\n");
  say("down\n" + std::string(200, 'x'));
  say(std::string(200, 'x'));
  handle_all();
  EXPECT_THAT(take_verbs(), ElementsAre());
}

TEST_F(RequestsTest, GivesWhatFitsAndKeepsTheRest) {
  const io::Fd first = say("down\n"), second = say("status\n");
  handle_all();
  const Request status = server_->next([](const Request& request) { return request.verb == kStatus; });
  EXPECT_NE(status.client, 0U);
  EXPECT_THAT(take_verbs(), ElementsAre("down"));
}

TEST_F(RequestsTest, MakesRoomByTheClientThatWaitsLongest) {
  std::vector<io::Fd> idle;
  for (size_t i = 0; i < RequestServer::kMaxClients; ++i) idle.push_back(say("re"));
  handle_all();
  const io::Fd client = say("status\n");
  handle_all();
  EXPECT_THAT(take_verbs(), ElementsAre("status"));
  char nothing = 0;
  EXPECT_EQ(::recv(idle.front().get(), &nothing, 1, MSG_DONTWAIT), 0) << "it was closed";
}

}  // namespace
}  // namespace culvert::daemon
