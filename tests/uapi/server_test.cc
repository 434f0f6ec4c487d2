#include "src/uapi/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "src/uapi/socket.h"
#include "tests/fake_device.h"
#include "tests/own_namespace.h"

namespace culvert::uapi {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A client that never waits for the server, so that one thread can play both.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
        << std::strerror(errno);
  }

  // How much the socket took.
  size_t send(std::string_view text) {
    const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  void end() { ::shutdown(fd_.get(), SHUT_WR); }

  // What there is to read now.
  std::string receive() {
    std::string out;
    char buffer[65536];
    ssize_t count = 0;
    while ((count = ::recv(fd_.get(), buffer, sizeof buffer, 0)) > 0) out.append(buffer, static_cast<size_t>(count));
    closed_ = count == 0 || (errno != EAGAIN && errno != EINTR);
    return out;
  }
  bool closed() {
    receive();
    return closed_;
  }

 private:
  io::Fd fd_;
  bool closed_ = false;
};

class UapiServerTest : public ::testing::Test {
 protected:
  // The wg program insists on /var/run/wireguard: a private /run.
  static void SetUpTestSuite() {
    isolated_ = test::enter_own_namespaces(CLONE_NEWNET | CLONE_NEWNS) &&
                ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                ::mount("run", "/run", "tmpfs", 0, "mode=755") == 0;
  }

  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/culvert_server_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    open_server(directory_);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  void open_server(const std::string& directory) {
    auto fd = open_uapi_socket("wgt0", directory);
    ASSERT_TRUE(fd) << fd.error().text();
    auto server = Server::open(std::move(*fd), device_, uapi_socket_file("wgt0", directory));
    ASSERT_TRUE(server) << server.error().text();
    server_ = std::move(*server);
    path_ = directory + "/wgt0.sock";
  }

  // Lets the server work until it has nothing to do.
  void pump() {
    while (test::wait_readable(server_->fd(), milliseconds(0))) server_->handle_events(now_);
  }

  // What one client reads that sends `text`.
  std::string ask(const std::string& text) {
    Client client(path_);
    client.send(text);
    pump();
    return client.receive();
  }

  // Runs a shell command while the server serves; yields its output and exit code.
  std::pair<std::string, int> run_served(const std::string& command) {
    FILE* stream = ::popen((command + " 2>&1").c_str(), "r");
    const int fd = ::fileno(stream);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    std::string out;
    char buffer[65536];
    for (;;) {
      pollfd waiting[2] = {{server_->fd(), POLLIN, 0}, {fd, POLLIN, 0}};
      ::poll(waiting, 2, 10000);
      if (waiting[0].revents != 0) server_->handle_events(now_);
      const ssize_t count = ::read(fd, buffer, sizeof buffer);
      if (count == 0) break;
      out.append(buffer, static_cast<size_t>(std::max<ssize_t>(count, 0)));
    }
    const int status = ::pclose(stream);
    return {out, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
  }

  // Lets time pass; says when the server wants to look again.
  std::optional<std::chrono::nanoseconds> after(std::chrono::nanoseconds while_) {
    now_ += while_;
    const auto next = server_->close_stalled(now_);
    pump();
    return next;
  }

  static inline bool isolated_ = false;
  std::chrono::nanoseconds now_ = std::chrono::hours(5);
  std::string directory_, path_;
  test::FakeDevice device_;
  std::unique_ptr<Server> server_;
};

TEST_F(UapiServerTest, ServesManyOperationsOnOneConnection) {
  Client client(path_);
  client.send("set=1\nlisten_port=5\n\nget=1\n\n");
  pump();
  EXPECT_EQ(client.receive(), "errno=0\n\nlisten_port=5\nerrno=0\n\n");
  client.send("get=1\n\n");
  pump();
  EXPECT_EQ(client.receive(), "listen_port=5\nerrno=0\n\n");
  EXPECT_EQ(server_->connections(), 1u);
}

TEST_F(UapiServerTest, ServesConnectionsSideBySide) {
  Client slow(path_);
  slow.send("set=1\nlisten_p");
  pump();
  EXPECT_EQ(ask("set=1\nfwmark=3\n\n"), "errno=0\n\n");
  slow.send("ort=9\n\n");
  pump();
  EXPECT_EQ(slow.receive(), "errno=0\n\n");
  EXPECT_EQ(device_.state.listen_port, 9);
  EXPECT_EQ(device_.state.fwmark, 3u);
}

TEST_F(UapiServerTest, ShowsNothingOfASetThatHasNotEnded) {
  const std::string peer = "public_key=" + device::to_hex(test::key_number(1)) + "\nallowed_ip=10.0.0.0/8\n";
  Client setter(path_);
  setter.send("set=1\nlisten_port=5\n" + peer);
  pump();
  EXPECT_EQ(ask("get=1\n\n"), "errno=0\n\n");
  EXPECT_EQ(device_.publications, 0);
  setter.send("\n");
  pump();
  EXPECT_EQ(setter.receive(), "errno=0\n\n");
  EXPECT_THAT(ask("get=1\n\n"), StartsWith("listen_port=5\npublic_key="));
  EXPECT_EQ(device_.publications, 1);
}

TEST_F(UapiServerTest, EndsTheOperationOfAClientThatStalls) {
  for (const std::string text : {"set=1\nlisten_port=5\nfwm", "get=1\n", "set"}) {
    Client stalled(path_), idle(path_);
    idle.send("get=1\n\n");
    pump();
    after(std::chrono::seconds(7));
    stalled.send(text);
    pump();
    const auto next = after(std::chrono::seconds(0));
    ASSERT_TRUE(next.has_value()) << text;
    EXPECT_EQ(*next, now_ + Server::kStallTimeout) << text;
    EXPECT_TRUE(after(Server::kStallTimeout - milliseconds(1)).has_value()) << text;
    EXPECT_FALSE(stalled.closed()) << text;
    EXPECT_FALSE(after(milliseconds(1)).has_value()) << text << ": nothing is left to wait for";
    EXPECT_EQ(stalled.receive(), "errno=-110\n\n") << text;
    EXPECT_TRUE(stalled.closed()) << text;
    EXPECT_FALSE(idle.closed()) << text << ": that one is between two operations";
  }
  EXPECT_EQ(device_.state.listen_port, 5) << "the lines so far count";
  EXPECT_EQ(device_.publications, 1);
}

TEST_F(UapiServerTest, IsPatientWithAClientThatIsSlow) {
  Client slow(path_);
  for (const char piece : std::string("set=1\nlisten_port=5\n")) {
    slow.send({&piece, 1});
    pump();
    after(Server::kStallTimeout - milliseconds(1));
  }
  slow.send("\n");
  pump();
  EXPECT_EQ(slow.receive(), "errno=0\n\n");
}

TEST_F(UapiServerTest, BoundsTheLinesOfSetsThatDoNotEnd) {
  std::string lines = "set=1\n";
  for (size_t i = 0; i < kMaxUapiLines / 2 + 1; ++i) lines += "fwmark=7\n";
  Client first(path_), second(path_);
  for (Client* const client : {&first, &second})
    for (size_t at = 0; at < lines.size();) {
      at += client->send(std::string_view(lines).substr(at));
      server_->handle_events(now_);
    }
  pump();
  EXPECT_TRUE(first.closed());
  EXPECT_EQ(device_.state.fwmark, 7u) << "its lines count";
  EXPECT_FALSE(second.closed());
  EXPECT_THAT(device_.errors, ::testing::Contains(HasSubstr("too many lines")));
}

TEST_F(UapiServerTest, ClosesAfterAnUnknownOperation) {
  Client client(path_);
  client.send("nonsense\n");
  pump();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server_->connections(), 0u);
}

TEST_F(UapiServerTest, EndsTheSetOfAClientThatHangsUp) {
  {
    Client client(path_);
    client.send("set=1\nlisten_port=5\n");
  }
  pump();
  EXPECT_EQ(device_.publications, 1);
  EXPECT_EQ(server_->connections(), 0u);
}

TEST_F(UapiServerTest, AnswersAClientThatClosedItsHalf) {
  Client client(path_);
  client.send("get=1\n\n");
  client.end();
  pump();
  EXPECT_EQ(client.receive(), "errno=0\n\n");
  EXPECT_TRUE(client.closed());
}

TEST_F(UapiServerTest, IsNotHeldUpByAClientThatDoesNotRead) {
  device::PeerState& peer = device_.state.peers.emplace_back();
  peer.allowed_ips.resize(130560);
  Client stuck(path_);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += "get=1\n\n";
  stuck.send(requests);
  pump();  // ends: nothing spins while the client's buffer is full
  EXPECT_EQ(ask("set=1\nreplace_peers=true\n\n"), "errno=0\n\n");
  std::string replies = stuck.receive();
  for (int i = 0; i < 4000; ++i) {
    pump();
    replies += stuck.receive();
  }
  size_t answers = 0;
  for (size_t at = 0; (at = replies.find("errno=0\n\n", at)) != std::string::npos; ++at) ++answers;
  EXPECT_EQ(answers, 1000u) << "and everything arrives once it reads";
}

TEST_F(UapiServerTest, BoundsTheRepliesThatNobodyReads) {
  device_.state.peers.emplace_back().allowed_ips.resize(500000);  // replies of 10 MB
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(path_));
    clients.back()->send("get=1\n\n");
    pump();
  }
  EXPECT_LE(server_->connections(), 4u);
  EXPECT_THAT(device_.errors, ::testing::Contains(HasSubstr("does not read its reply")));
}

TEST_F(UapiServerTest, MakesMetricsAsTheyAreRead) {
  const std::string piece(10'000, 'x');
  size_t made = 0;
  device_.metrics_pieces = [&] { return ++made <= 1000 ? piece : std::string(); };
  Client stalled(path_);
  stalled.send("metrics=1\n\nget=1\n\n");
  pump();
  EXPECT_LT(made, 100u) << "what the socket takes, and a piece";
  EXPECT_EQ(ask("get=1\n\n"), "errno=0\n\n");
  now_ += Server::kStallTimeout;
  (void)server_->close_stalled(now_);
  pump();
  EXPECT_EQ(server_->connections(), 1u) << "it is the client that lets wait, and it costs nothing";

  std::string text = stalled.receive();
  for (size_t before = 0; text.size() > before; text += stalled.receive()) {
    before = text.size();
    pump();
  }
  EXPECT_EQ(text.size(), 1000 * piece.size() + 2 * std::string("errno=0\n\n").size());
  EXPECT_TRUE(text.ends_with("xerrno=0\n\nerrno=0\n\n"));
}

TEST_F(UapiServerTest, MakesRoomForANewConnection) {
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < Server::kMaxConnections + 10; ++i) {
    clients.push_back(std::make_unique<Client>(path_));
    pump();
  }
  EXPECT_EQ(server_->connections(), Server::kMaxConnections);
  EXPECT_EQ(ask("get=1\n\n"), "errno=0\n\n");
  EXPECT_TRUE(clients.front()->closed());
  EXPECT_FALSE(clients.back()->closed());
}

TEST_F(UapiServerTest, SurvivesTheLackOfDescriptors) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  Client early(path_);
  Client late(path_);
  const io::Fd next(::dup(0));
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(next.get());  // not one more
  ::setrlimit(RLIMIT_NOFILE, &tight);
  pump();  // ends: the clients are turned away instead of waking us for ever
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(early.closed());
  EXPECT_TRUE(late.closed());
  EXPECT_EQ(ask("get=1\n\n"), "errno=0\n\n");
}

TEST_F(UapiServerTest, TakesAHugeSetInPieces) {
  constexpr int kAllowedIps = 130560;
  std::string text = "set=1\npublic_key=" + device::to_hex(test::key_number(1)) + "\n";
  for (int i = 0; i < kAllowedIps; ++i) {
    text += "allowed_ip=fd00:1234:5678:9abc:def0:1234:" + std::to_string(i / 10000) + ":" + std::to_string(i % 10000) +
            "/128\n";
  }
  text += "\n";
  Client client(path_);
  for (size_t at = 0; at < text.size();) {
    at += client.send(std::string_view(text).substr(at));
    server_->handle_events(now_);
  }
  pump();
  EXPECT_EQ(client.receive(), "errno=0\n\n");
  EXPECT_EQ(device_.state.peers.at(0).allowed_ips.size(), size_t{kAllowedIps});
  EXPECT_EQ(device_.publications, 1);
}

TEST_F(UapiServerTest, ServesWhateverAClientThrowsAtIt) {
  EXPECT_EQ(ask(std::string(100000, 'x')), "");
  EXPECT_EQ(ask("set=1\n" + std::string(100000, 'x')), "errno=-5\n\n");
  EXPECT_EQ(ask(std::string("set=1\n\0\xff=\n\n", 11)), "errno=-22\n\n");
  EXPECT_EQ(ask("get=1\n\n"), "errno=0\n\n");
}

TEST_F(UapiServerTest, NoticesThatItsFileWasDeleted) {
  pump();
  EXPECT_FALSE(server_->socket_deleted());
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  pump();
  EXPECT_FALSE(server_->socket_deleted()) << "a change of mode is none of our business";
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_TRUE(test::wait_readable(server_->fd(), milliseconds(1000)));
  pump();
  EXPECT_TRUE(server_->socket_deleted());
}

TEST_F(UapiServerTest, NoticesThatItsFileWasReplacedAndLeavesTheNewOne) {
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  std::ofstream(path_) << "someone else's";
  pump();
  EXPECT_TRUE(server_->socket_deleted());
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UapiServerTest, UnlinksItsFileAtTheEnd) {
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UapiServerTest, RefusesADescriptorThatDoesNotListen) {
  for (int fd : {::open("/dev/null", O_RDONLY), ::socket(AF_UNIX, SOCK_STREAM, 0)}) {
    const auto server = Server::open(io::Fd(fd), device_);
    ASSERT_FALSE(server);
    EXPECT_THAT(server.error().text(), HasSubstr("is no listening socket"));
  }
  EXPECT_FALSE(Server::open(io::Fd(9999), device_));
}

// The real program, in its own mount namespace.
class UapiServerWithWgTest : public UapiServerTest {
 protected:
  void SetUp() override {
    if (!isolated_ || test::run("command -v wg >/dev/null") != 0)
      GTEST_SKIP() << "needs wg (apt install wireguard-tools) and namespaces: run as root, or allow user namespaces";
    open_server(kUapiDirectory);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(kUapiDirectory);
  }
};

TEST_F(UapiServerWithWgTest, IsListedAndShown) {
  device_.state.listen_port = 51820;
  device_.state.peers.emplace_back().public_key = test::key_number(1);
  device_.state.peers[0].allowed_ips = {*device::parse_prefix("10.0.0.0/8", device::PrefixLength::required)};
  EXPECT_EQ(run_served("wg show interfaces").first, "wgt0\n");
  EXPECT_EQ(run_served("wg show wgt0").first,
            "interface: wgt0\n  listening port: 51820\n\npeer: " + device::to_base64(test::key_number(1)) +
                "\n  allowed ips: 10.0.0.0/8\n");
}

TEST_F(UapiServerWithWgTest, TakesSetAndShowsItBack) {
  const std::string peer = device::to_base64(test::key_number(1));
  const auto [out, code] =
      run_served("echo " + device::to_base64(test::key_number(8)) +
                 " > /run/key; wg set wgt0 private-key /run/key listen-port 7 fwmark 0x2a peer " + peer +
                 " preshared-key /run/key endpoint '[2001:db8::1]:5' persistent-keepalive 25 allowed-ips "
                 "10.0.0.0/8,fd00::/64");
  EXPECT_EQ(out, "");
  EXPECT_EQ(code, 0);
  EXPECT_EQ(device_.state.private_key, test::secret_number(8));
  EXPECT_EQ(device_.state.fwmark, 42u);
  EXPECT_EQ(run_served("wg showconf wgt0").first,
            "[Interface]\nListenPort = 7\nFwMark = 0x2a\nPrivateKey = " + device::to_base64(test::key_number(8)) +
                "\n\n[Peer]\nPublicKey = " + peer + "\nPresharedKey = " + device::to_base64(test::key_number(8)) +
                "\nAllowedIPs = 10.0.0.0/8, fd00::/64\nEndpoint = [2001:db8::1]:5\nPersistentKeepalive = 25\n");
  EXPECT_EQ(run_served("wg set wgt0 peer " + peer + " remove").second, 0);
  EXPECT_TRUE(device_.state.peers.empty());
}

TEST_F(UapiServerWithWgTest, TakesSetconfAndSyncconf) {
  std::ofstream("/run/one.conf") << "[Interface]\nListenPort = 7\n[Peer]\nPublicKey = "
                                 << device::to_base64(test::key_number(1)) << "\nAllowedIPs = 10.0.0.0/8\n";
  std::ofstream("/run/two.conf") << "[Interface]\nListenPort = 8\n[Peer]\nPublicKey = "
                                 << device::to_base64(test::key_number(2)) << "\nAllowedIPs = 10.0.0.0/8\n";
  EXPECT_EQ(run_served("wg setconf wgt0 /run/one.conf").second, 0);
  EXPECT_EQ(run_served("wg syncconf wgt0 /run/two.conf").second, 0);
  EXPECT_EQ(device_.state.listen_port, 8);
  ASSERT_EQ(device_.state.peers.size(), 1u);
  EXPECT_EQ(device_.state.peers[0].public_key, test::key_number(2));
  EXPECT_EQ(run_served("wg addconf wgt0 /run/one.conf").second, 0);
  EXPECT_EQ(device_.state.peers.size(), 2u);
}

TEST_F(UapiServerWithWgTest, MakesWgFailWhenTheDeviceRefuses) {
  device_.refusal = EADDRINUSE;
  const auto [out, code] = run_served("wg set wgt0 listen-port 53");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(out, StartsWith("Unable to modify interface"));
}

TEST_F(UapiServerWithWgTest, RoundTripsAHundredThousandAllowedIps) {
  constexpr int kAllowedIps = 130560;
  {
    std::ofstream file("/run/huge.conf");
    file << "[Peer]\nPublicKey = " << device::to_base64(test::key_number(1)) << "\n";
    for (int i = 0; i < kAllowedIps; ++i)
      file << "AllowedIPs = 10." << i / 65536 << '.' << i / 256 % 256 << '.' << i % 256 << "/32\n";
  }
  EXPECT_EQ(run_served("wg setconf wgt0 /run/huge.conf").second, 0);
  ASSERT_EQ(device_.state.peers.size(), 1u);
  EXPECT_EQ(device_.state.peers[0].allowed_ips.size(), size_t{kAllowedIps});
  EXPECT_EQ(run_served("wg show wgt0 allowed-ips | tr ' \\t' '\\n\\n' | grep -c /32").first,
            std::to_string(kAllowedIps) + "\n");
}

}  // namespace
}  // namespace culvert::uapi
