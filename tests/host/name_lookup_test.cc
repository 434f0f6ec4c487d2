#include "src/host/name_lookup.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <set>

#include "io/fd.h"

namespace culvert::host {
namespace {

// A name server on the loopback: every name has one address of each family, or none at all.
class TinyServer {
 public:
  explicit TinyServer(bool knows)
      : knows_(knows), fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    name_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }

  void serve() {
    std::array<uint8_t, 512> query{};
    sockaddr_in from{};
    socklen_t length = sizeof from;
    ssize_t count = 0;
    while ((count = ::recvfrom(fd_.get(), query.data(), query.size(), 0, reinterpret_cast<sockaddr*>(&from), &length)) >
           16) {
      std::string reply(reinterpret_cast<const char*>(query.data()), static_cast<size_t>(count));
      const bool v6 = query[static_cast<size_t>(count) - 3] == 28;
      reply[2] = '\x81';
      reply[3] = static_cast<char>(knows_ ? 0x80 : 0x83);  // 3: no such name
      if (knows_) {
        reply[7] = 1;
        reply.append("\xc0\x0c\x00", 3).append(1, v6 ? '\x1c' : '\x01').append("\x00\x01\x00\x00\x00\x3c\x00", 7);
        if (v6)
          reply.append(1, '\x10').append(15, '\0').append(1, '\x01');  // ::1
        else
          reply.append("\x04\x7f\x00\x00\x02", 5);  // 127.0.0.2
      }
      ::sendto(fd_.get(), reply.data(), reply.size(), 0, reinterpret_cast<const sockaddr*>(&from), length);
    }
  }

 private:
  const bool knows_;
  io::Fd fd_;
  std::string name_;
};

// Goes on until there are `count` answers.
std::vector<NameAnswer> wait_for(NameLookup& lookup, TinyServer& server, size_t count) {
  std::vector<NameAnswer> answers;
  while (answers.size() < count) {
    std::array<pollfd, 2> waiting = {{{lookup.fd(), POLLIN, 0}, {server.fd(), POLLIN, 0}}};
    const auto timeout = lookup.timeout();
    ::poll(waiting.data(), waiting.size(),
           timeout ? static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(*timeout).count()) : 10000);
    server.serve();
    for (NameAnswer& answer : lookup.handle_events()) answers.push_back(std::move(answer));
  }
  return answers;
}

TEST(NameLookup, FindsBothFamilies) {
  TinyServer server(true);
  auto lookup = NameLookup::open();
  ASSERT_TRUE(lookup);
  EXPECT_EQ((*lookup)->timeout(), std::nullopt);
  (*lookup)->ask({7, "vpn.example", server.name(), 0});
  const std::vector<NameAnswer> answers = wait_for(**lookup, server, 1);
  EXPECT_EQ(answers[0].id, 7U);
  EXPECT_EQ(answers[0].error, "");
  std::set<std::string> found;
  for (const io::Address& address : answers[0].addresses) {
    io::Endpoint endpoint;
    endpoint.remote = address;
    endpoint.port = 1;
    found.insert(io::to_string(endpoint));
  }
  EXPECT_EQ(found, (std::set<std::string>{"127.0.0.2:1", "[::1]:1"}));
}

TEST(NameLookup, SaysWhenThereIsNoSuchName) {
  TinyServer server(false);
  auto lookup = NameLookup::open();
  ASSERT_TRUE(lookup);
  (*lookup)->ask({1, "nowhere.example", server.name(), 0});
  (*lookup)->ask({2, "not a name..", server.name(), 0});
  for (const NameAnswer& answer : wait_for(**lookup, server, 2)) {
    EXPECT_TRUE(answer.addresses.empty());
    EXPECT_NE(answer.error, "") << answer.id;
  }
}

TEST(NameLookup, AnswersMoreQuestionsThanItAsksAtOnce) {
  TinyServer server(true);
  auto lookup = NameLookup::open();
  ASSERT_TRUE(lookup);
  constexpr size_t kQuestions = 3 * NameLookup::kMostAtOnce;
  for (size_t i = 0; i < kQuestions; ++i) (*lookup)->ask({i, std::to_string(i).append(".example"), server.name(), 0});
  std::set<uint64_t> ids;
  for (const NameAnswer& answer : wait_for(**lookup, server, kQuestions)) ids.insert(answer.id);
  EXPECT_EQ(ids.size(), kQuestions);
}

TEST(NameLookup, EndsInTheMiddleOfAQuestion) {
  TinyServer server(true);
  auto lookup = NameLookup::open();
  ASSERT_TRUE(lookup);
  (*lookup)->ask({1, "vpn.example", server.name(), 0});
  (void)(*lookup)->handle_events();
  lookup->reset();
}

TEST(ServersOf, TakesTheServersOfAResolvConf) {
  EXPECT_EQ(servers_of("# x\nsearch a\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # y\nnameserver fe80::1%eth0\n"
                       "nameserver\nnameserver x"),
            "192.0.2.1,2001:db8::1");
  EXPECT_EQ(servers_of(""), "");
}

}  // namespace
}  // namespace culvert::host
