#include "src/daemon/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <list>
#include <memory>

#include "src/log.h"
#include "tests/daemon/http_client.h"

namespace culvert::daemon {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using test::chunked;
using test::HttpClient;
using test::kGet;
using test::Served;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

size_t resident_bytes() {
  size_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

TEST(MetricsServer, ServesWhatIsRendered) {
  Served served;
  HttpClient client(served);
  for (int i = 1; i <= 3; ++i) {
    served.page = "culvert_rendered_total " + std::to_string(i) + "\n";
    EXPECT_THAT(client.request(kGet, chunked(served.page)),
                AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Content-Type: text/plain; version=0.0.4"),
                      EndsWith("\r\n\r\n" + chunked(served.page))));
  }
  EXPECT_THAT(client.request("GET /metrics?collect=all HTTP/1.1\r\nHost: culvert\r\n\r\n", chunked(served.page)),
              EndsWith(chunked(served.page)));
  EXPECT_THAT(client.request("GET /healthz HTTP/1.1\r\nHost: culvert\r\n\r\n", "link up\n"),
              AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nok\nlink up\n")));
  EXPECT_THAT(client.request("GET / HTTP/1.1\r\nHost: culvert\r\n\r\n", "here\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_EQ(served.rendered, 4);
}

TEST(MetricsServer, AnswersHeadWithoutAPage) {
  Served served;
  HttpClient client(served);
  EXPECT_THAT(client.request("HEAD /metrics HTTP/1.1\r\nHost: culvert\r\nConnection: close\r\n\r\n", "never"),
              AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Transfer-Encoding: chunked"), Not(HasSubstr(served.page))));
}

TEST(MetricsServer, MakesFewPiecesATurnAndOnlyWhatIsTaken) {
  constexpr int kAll = 300;
  Served served;
  int made = 0, turn = 0, in_turn = 0, most = 0;
  served.pieces = [&]() -> std::string {
    in_turn = std::exchange(turn, served.turns) == served.turns ? in_turn + 1 : 1;
    most = std::max(most, in_turn);
    return ++made <= kAll ? std::string(10'000, '$') : "";
  };
  HttpClient stalled(served, "127.0.0.1", 4096);
  EXPECT_TRUE(stalled.send(kGet));
  EXPECT_FALSE(served.has_work()) << "it waits for the client";
  EXPECT_LT(made, kAll);

  made = 0;
  HttpClient client(served);
  EXPECT_EQ(count_of(client.request(kGet, "\r\n0\r\n\r\n"), "$"), kAll * size_t{10'000});
  EXPECT_LE(most, 2) << "behind the header goes one more";
}

TEST(MetricsServer, AnswersRequestsThatCameTogetherInOrder) {
  Served served;
  HttpClient client(served);
  std::string requests;
  for (int i = 0; i < 50; ++i) requests.append(kGet);
  requests += "GET /healthz HTTP/1.1\r\nHost: culvert\r\n\r\n";
  const std::string answers = client.request(requests, "link up\n");
  EXPECT_EQ(count_of(answers, "HTTP/1.1 200 "), 51u);
  EXPECT_EQ(count_of(answers, served.page), 50u);
}

TEST(MetricsServer, RefusesOtherMethods) {
  for (const std::string method : {"POST", "PUT", "DELETE", "OPTIONS", "get", "BREW"}) {
    Served served;
    HttpClient client(served);
    EXPECT_THAT(client.request(method + " /metrics HTTP/1.1\r\nHost: culvert\r\nContent-Length: 0\r\n\r\n", "never"),
                AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: GET, HEAD")))
        << method;
    EXPECT_TRUE(client.closed());
    EXPECT_EQ(served.rendered, 0);
  }
}

TEST(MetricsServer, RefusesABodyBeforeItComes) {
  for (const std::string header : {"Content-Length: 5", "Content-Length: 314572800", "Transfer-Encoding: chunked"}) {
    Served served;
    HttpClient client(served);
    EXPECT_THAT(client.request("GET /metrics HTTP/1.1\r\nHost: culvert\r\n" + header + "\r\n\r\n", "never"),
                StartsWith("HTTP/1.1 413 "))
        << header;
    EXPECT_TRUE(client.closed());
    EXPECT_EQ(served.rendered, 0);
  }
}

TEST(MetricsServer, StoresNothingOfALargePost) {
  constexpr size_t kBytes = size_t{300} << 20, kGrowth = size_t{16} << 20;
  const std::string piece = "100000\r\n" + std::string(size_t{1} << 20, 'x') + "\r\n";
  for (const std::string method : {"POST", "GET"})
    for (const std::string framing : {"Content-Length: 314572800", "Transfer-Encoding: chunked"}) {
      Served served;
      HttpClient client(served);
      const size_t before = resident_bytes();
      bool open = client.send(method + " /metrics HTTP/1.1\r\nHost: culvert\r\n" + framing + "\r\n\r\n");
      for (size_t sent = 0; open && sent < kBytes; sent += piece.size()) open = client.send(piece);
      EXPECT_FALSE(open) << "all of it was read: " << method << " with " << framing;
      EXPECT_LT(resident_bytes(), before + kGrowth) << method << " with " << framing;
    }
}

TEST(MetricsServer, StoresLittleOfAHeaderWithoutEnd) {
  constexpr size_t kBytes = size_t{64} << 20, kGrowth = size_t{16} << 20;
  const std::string line = "X-Long: " + std::string(1000, 'x') + "\r\n";
  Served served;
  HttpClient client(served);
  const size_t before = resident_bytes();
  bool open = client.send("GET /metrics HTTP/1.1\r\nHost: culvert\r\n");
  for (size_t sent = 0; open && sent < kBytes; sent += line.size()) open = client.send(line);
  EXPECT_FALSE(open) << "all of it was read";
  EXPECT_LT(resident_bytes(), before + kGrowth);
  EXPECT_EQ(served.rendered, 0);
}

TEST(MetricsServer, EndsARequestThatComesByteByByte) {
  Served served;
  HttpClient slow(served);
  std::string_view rest = kGet;
  for (auto time = 0ms; time < MetricsServer::kMaxRequestTime; time += 1s) {
    EXPECT_FALSE(slow.closed()) << time.count();
    EXPECT_TRUE(slow.send(rest.substr(0, 1)));
    rest.remove_prefix(1);
    served.pass(1s);
  }
  EXPECT_TRUE(slow.closed());
  EXPECT_EQ(served.server->connections(), 0u);
}

TEST(MetricsServer, EndsAConnectionThatIsKeptForNothing) {
  Served served;
  HttpClient kept(served);
  served.pass(MetricsServer::kMaxRequestTime - 1ms);
  EXPECT_THAT(kept.request(kGet, chunked(served.page)), EndsWith(chunked(served.page)));
  served.pass(MetricsServer::kMaxRequestTime - 1ms);
  EXPECT_FALSE(kept.closed());
  served.pass(1ms);
  EXPECT_TRUE(kept.closed());
  EXPECT_FALSE(served.has_work());
}

TEST(MetricsServer, EndsAConnectionThatDoesNotReadItsResponse) {
  Served served;
  served.page.assign(size_t{32} << 20, 'x');
  HttpClient stalled(served, "127.0.0.1", 4096);
  EXPECT_TRUE(stalled.send(kGet));
  EXPECT_TRUE(stalled.receive_some());
  EXPECT_EQ(served.server->connections(), 1u);
  EXPECT_FALSE(served.has_work()) << "it waits for the client";

  served.page = "small\n";
  HttpClient other(served);
  EXPECT_THAT(other.request(kGet, chunked(served.page)), EndsWith(chunked(served.page)));
  served.pass(MetricsServer::kMaxRequestTime);
  EXPECT_EQ(served.server->connections(), 0u);
  EXPECT_FALSE(served.has_work());
}

TEST(MetricsServer, HoldsAtMostSoManyConnections) {
  Served served;
  std::list<HttpClient> idle;
  for (int i = 0; i < 300; ++i) {
    idle.emplace_back(served, ("127.0.1." + std::to_string(1 + i % 100)).c_str());
    ASSERT_LE(served.server->connections(), MetricsServer::kMaxConnections);
  }
  EXPECT_EQ(served.server->connections(), MetricsServer::kMaxConnections);
  EXPECT_EQ(std::count_if(idle.begin(), idle.end(), [](HttpClient& client) { return client.closed(); }),
            static_cast<ptrdiff_t>(300 - MetricsServer::kMaxConnections));
  EXPECT_FALSE(idle.back().closed()) << "the newest stay";
  HttpClient client(served);
  EXPECT_THAT(client.request(kGet, chunked(served.page)), EndsWith(chunked(served.page)));
  EXPECT_FALSE(served.has_work());
}

TEST(MetricsServer, LeavesRoomForOtherAddressesThanTheGreedyOne) {
  Served served;
  std::list<HttpClient> greedy;
  for (int i = 0; i < 100; ++i) greedy.emplace_back(served, "127.0.1.1");
  EXPECT_EQ(served.server->connections(), MetricsServer::kMaxConnectionsPerAddress);
  HttpClient client(served);
  EXPECT_THAT(client.request(kGet, chunked(served.page)), EndsWith(chunked(served.page)));
}

TEST(MetricsServer, RestsWhileDescriptorsAreOut) {
  // UBSan opens a pipe when it sees a class for the first time, and the log's would come while there is none to be had.
  open_log(LogLevel::silent, "culvert");
  Served served;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto limit_to = [&limit](rlim_t descriptors) {
    const rlimit lower{descriptors, limit.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  };
  const int next = ::dup(STDIN_FILENO);
  ASSERT_GE(next, 0);
  ::close(next);
  limit_to(static_cast<rlim_t>(next) + 1);  // the client's own, and none for the server

  HttpClient client(served);
  EXPECT_EQ(served.server->connections(), 0u);
  EXPECT_FALSE(served.has_work()) << "nothing happens until the pause is over";
  served.pass(MetricsServer::kPause - 1ms);
  EXPECT_EQ(served.server->connections(), 0u);
  served.pass(1ms);
  EXPECT_EQ(served.server->connections(), 0u);
  EXPECT_FALSE(served.has_work()) << "and rests again";

  limit_to(limit.rlim_cur);
  served.pass(MetricsServer::kPause);
  EXPECT_EQ(served.server->connections(), 1u) << "the client has waited";
  open_log(LogLevel::error, "culvert");
  EXPECT_THAT(client.request(kGet, chunked(served.page)), EndsWith(chunked(served.page)));
}

TEST(MetricsServer, StopsWhateverItsClientsDo) {
  Served served;
  served.page.assign(size_t{32} << 20, 'x');
  HttpClient silent(served), kept(served), in_its_header(served), stalled(served, "127.0.0.1", 4096);
  EXPECT_THAT(kept.request("GET /healthz HTTP/1.1\r\nHost: culvert\r\n\r\n", "link up\n"), EndsWith("link up\n"));
  EXPECT_TRUE(in_its_header.send("GET /metr"));
  EXPECT_TRUE(stalled.send(kGet));
  EXPECT_EQ(served.server->connections(), 4u);
  served.server.reset();
  for (HttpClient* const client : {&silent, &kept, &in_its_header}) EXPECT_TRUE(client->closed());
}

TEST(MetricsServer, SaysWhichAddressIsTaken) {
  const Served first;
  const auto second = MetricsServer::open({.endpoint = test::loopback(first.server->port())}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EADDRINUSE) << second.error().text();
  EXPECT_THAT(second.error().text(), HasSubstr("127.0.0.1:" + std::to_string(first.server->port())));
  EXPECT_THAT(second.error().text(), HasSubstr("CULVERT_METRICS"));
}

TEST(MetricsServer, ServesItsOwnerAloneOnAPath) {
  char folder[] = "/tmp/culvert-metrics.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/socket";
  const Pages pages = {.metrics = [] { return test::one_piece("page\n"); },
                       .health = [] { return std::string("ok\n"); }};
  { const std::ofstream no_socket(path); }
  EXPECT_FALSE(MetricsServer::open({.path = path}, pages));  // what is no socket stays
  ASSERT_EQ(::unlink(path.c_str()), 0);
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    const io::Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));  // of somebody who was killed
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  auto server = MetricsServer::open({.path = path}, pages);
  ASSERT_TRUE(server) << server.error().text();
  EXPECT_EQ((*server)->port(), 0u);
  struct stat made {};
  ASSERT_EQ(::stat(path.c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777u, 0700u);
  EXPECT_FALSE(MetricsServer::open({.path = path}, pages));  // somebody serves it

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.sun_path);
  const io::Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const std::string_view request = "GET /metrics HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(client.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer;
  while (answer.find("page\n") == std::string::npos) {
    pollfd waiting[] = {{(*server)->fd(), POLLIN, 0}, {client.get(), POLLIN, 0}};
    ASSERT_GT(::poll(waiting, 2, 10'000), 0) << answer;
    (*server)->handle_events(protocol::Instant(std::chrono::seconds(1)));
    char buffer[4096];
    const ssize_t count = ::recv(client.get(), buffer, sizeof buffer, 0);
    if (count > 0) answer.append(buffer, static_cast<size_t>(count));
  }
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  server->reset();
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  ::rmdir(folder);
}

TEST(MetricsServer, SaysWhichAddressIsNotOurs) {
  io::Endpoint endpoint;
  ASSERT_TRUE(io::parse_endpoint("192.0.2.77:9586", endpoint));
  const auto server = MetricsServer::open({.endpoint = endpoint}, {});
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().number, EADDRNOTAVAIL) << server.error().text();
}

}  // namespace
}  // namespace culvert::daemon
