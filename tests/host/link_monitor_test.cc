#include "src/host/link_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "src/host/link_setup.h"
#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr milliseconds kSoon{2000};
constexpr milliseconds kQuiet{150};

// Each test runs in a namespace of this program's own, with one TUN device and its monitor.
class LinkMonitorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }

  void SetUp() override {
    if (!isolated_ || ::access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs /dev/net/tun and network namespaces: run as root, or allow user namespaces";
    tun_ = test::make_tun("cvlink0");
    ASSERT_TRUE(tun_) << std::strerror(errno);
    open_monitor();
  }

  void open_monitor() {
    auto monitor = LinkMonitor::open(tun_.get());
    ASSERT_TRUE(monitor) << monitor.error().text();
    monitor_ = std::move(*monitor);
  }

  // All events until `last` came, or until nothing comes any more.
  std::vector<LinkEvent> events_until(LinkEvent last) {
    std::vector<LinkEvent> all;
    const auto deadline = std::chrono::steady_clock::now() + 2 * kSoon;
    while (std::chrono::steady_clock::now() < deadline && test::wait_readable(monitor_->fd(), kSoon)) {
      for (const LinkEvent event : monitor_->read_events()) all.push_back(event);
      if (std::find(all.begin(), all.end(), last) != all.end()) break;
    }
    return all;
  }

  // Reads what is left, then there must be silence.
  void expect_no_wake_ups() {
    while (test::wait_readable(monitor_->fd(), kQuiet)) EXPECT_THAT(monitor_->read_events(), IsEmpty());
    EXPECT_FALSE(test::wait_readable(monitor_->fd(), milliseconds(1300)));
  }

  static inline bool isolated_ = false;
  io::Fd tun_;
  std::unique_ptr<LinkMonitor> monitor_;
};

TEST_F(LinkMonitorTest, KnowsTheStateFromTheStart) {
  EXPECT_FALSE(monitor_->state().up);
  EXPECT_EQ(monitor_->state().mtu_bytes, 1500u);
  EXPECT_EQ(monitor_->state().name, "cvlink0");
  EXPECT_EQ(monitor_->watching(), LinkMonitor::Watching::netlink);
  ASSERT_EQ(test::run("ip link set cvlink0 up mtu 1420"), 0);
  open_monitor();
  EXPECT_TRUE(monitor_->state().up);
  EXPECT_EQ(monitor_->state().mtu_bytes, 1420u);
  EXPECT_THAT(monitor_->read_events(), IsEmpty());
}

TEST_F(LinkMonitorTest, SeesUpDownAndMtu) {
  ASSERT_EQ(test::run("ip link set cvlink0 up"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), ElementsAre(LinkEvent::up));
  ASSERT_EQ(test::run("ip link set cvlink0 mtu 9000"), 0);
  EXPECT_THAT(events_until(LinkEvent::mtu), ElementsAre(LinkEvent::mtu));
  EXPECT_EQ(monitor_->state().mtu_bytes, 9000u);
  ASSERT_EQ(test::run("ip link set cvlink0 down"), 0);
  EXPECT_THAT(events_until(LinkEvent::down), ElementsAre(LinkEvent::down));
  EXPECT_FALSE(monitor_->state().up);
  expect_no_wake_ups();
}

TEST_F(LinkMonitorTest, IgnoresOtherLinks) {
  const io::Fd other = test::make_tun("cvlink1");
  ASSERT_EQ(test::run("ip link set cvlink1 up mtu 1300"), 0);
  while (test::wait_readable(monitor_->fd(), kQuiet)) EXPECT_THAT(monitor_->read_events(), IsEmpty());
  EXPECT_FALSE(monitor_->state().up);
}

TEST_F(LinkMonitorTest, FollowsARename) {
  ASSERT_EQ(test::run("ip link set cvlink0 name cvlink9"), 0);
  EXPECT_THAT(events_until(LinkEvent::moved), Contains(LinkEvent::moved));
  EXPECT_EQ(monitor_->state().name, "cvlink9");
}

TEST_F(LinkMonitorTest, SeesTheDeletion) {
  ASSERT_EQ(test::run("ip link del cvlink0"), 0);
  EXPECT_THAT(events_until(LinkEvent::gone), ElementsAre(LinkEvent::gone));
  EXPECT_TRUE(monitor_->state().gone);
  expect_no_wake_ups();
}

TEST_F(LinkMonitorTest, SurvivesAStormOfChanges) {
  ASSERT_EQ(test::run("seq 4000 | sed 's/.*/link set cvlink0 up\\nlink set cvlink0 down/' > /tmp/cvlink.$$ && "
                      "echo 'link set cvlink0 up mtu 1333' >> /tmp/cvlink.$$; ip -batch /tmp/cvlink.$$; r=$?; "
                      "rm -f /tmp/cvlink.$$; exit $r"),
            0);
  while (test::wait_readable(monitor_->fd(), kQuiet)) monitor_->read_events();
  EXPECT_TRUE(monitor_->state().up);
  EXPECT_EQ(monitor_->state().mtu_bytes, 1333u);
}

TEST_F(LinkMonitorTest, FollowsAMoveToAnotherNamespaceAndBack) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  ASSERT_EQ(test::run("ip link set cvlink0 up"), 0);
  events_until(LinkEvent::up);

  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
  EXPECT_THAT(events_until(LinkEvent::moved), ElementsAre(LinkEvent::down, LinkEvent::moved));
  EXPECT_EQ(monitor_->watching(), LinkMonitor::Watching::netlink);

  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 up mtu 1280"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), ElementsAre(LinkEvent::mtu, LinkEvent::up));
  EXPECT_EQ(monitor_->state().mtu_bytes, 1280u);
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 down"), 0);
  EXPECT_THAT(events_until(LinkEvent::down), ElementsAre(LinkEvent::down));
  expect_no_wake_ups();

  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 netns " + std::to_string(::getpid())), 0);
  EXPECT_THAT(events_until(LinkEvent::moved), ElementsAre(LinkEvent::moved));
  ASSERT_EQ(test::run("ip link set cvlink0 up"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), ElementsAre(LinkEvent::up));
}

TEST_F(LinkMonitorTest, FollowsAMoveThatGivesItAnotherIndex) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  // Takes our index there.
  const unsigned index = ::if_nametoindex("cvlink0");
  ASSERT_EQ(
      test::run(other.enter() + "ip link add cvtaken index " + std::to_string(index) + " type veth peer name cvpeer"),
      0);
  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
  EXPECT_THAT(events_until(LinkEvent::moved), ElementsAre(LinkEvent::moved));
  ASSERT_EQ(test::run(other.enter() + "ip link set cvtaken up"), 0);
  while (test::wait_readable(monitor_->fd(), kQuiet)) EXPECT_THAT(monitor_->read_events(), IsEmpty());
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 up"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), ElementsAre(LinkEvent::up));
}

TEST_F(LinkMonitorTest, FollowsAMoveFromTheSecondToAThirdNamespace) {
  test::OtherNamespace second;
  test::OtherNamespace third;
  ASSERT_TRUE(second.ready() && third.ready());
  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(second.process())), 0);
  ASSERT_EQ(test::run(second.enter() + "ip link set cvlink0 name cvlink7 netns " + std::to_string(third.process())), 0);
  ASSERT_EQ(test::run(third.enter() + "ip link set cvlink7 up"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), Contains(LinkEvent::moved));
  EXPECT_TRUE(monitor_->state().up);
  EXPECT_EQ(monitor_->state().name, "cvlink7");
}

TEST_F(LinkMonitorTest, FindsADeviceThatWasHandedOverFromAnotherNamespace) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 up mtu 1300"), 0);
  open_monitor();
  EXPECT_TRUE(monitor_->state().up);
  EXPECT_EQ(monitor_->state().mtu_bytes, 1300u);
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 down"), 0);
  EXPECT_THAT(events_until(LinkEvent::down), ElementsAre(LinkEvent::down));
}

TEST_F(LinkMonitorTest, SeesTheDeletionInAnotherNamespace) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
  events_until(LinkEvent::moved);
  ASSERT_EQ(test::run(other.enter() + "ip link del cvlink0"), 0);
  EXPECT_THAT(events_until(LinkEvent::gone), ElementsAre(LinkEvent::gone));
}

TEST_F(LinkMonitorTest, SeesTheEndOfTheNamespaceAndDoesNotKeepItAlive) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
  events_until(LinkEvent::moved);
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 up"), 0);
  events_until(LinkEvent::up);
  other.end();
  EXPECT_THAT(events_until(LinkEvent::gone), Contains(LinkEvent::gone));
}

// Switches one capability of this thread off and back on.
class WithoutCapability {
 public:
  explicit WithoutCapability(int capability) {
    ::syscall(SYS_capget, &header_, before_);
    __user_cap_data_struct without[2] = {before_[0], before_[1]};
    without[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
    EXPECT_EQ(::syscall(SYS_capset, &header_, without), 0);
  }
  ~WithoutCapability() { ::syscall(SYS_capset, &header_, before_); }
  WithoutCapability(const WithoutCapability&) = delete;
  WithoutCapability& operator=(const WithoutCapability&) = delete;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct before_[2]{};
};

TEST_F(LinkMonitorTest, AsksTheDeviceOnceASecondWhereItMayNotListen) {
  test::OtherNamespace other;
  ASSERT_TRUE(other.ready());
  const int me = ::getpid();
  {
    const WithoutCapability scope(CAP_NET_BROADCAST);
    ASSERT_EQ(test::run("ip link set cvlink0 netns " + std::to_string(other.process())), 0);
    EXPECT_THAT(events_until(LinkEvent::moved), ElementsAre(LinkEvent::moved));
  }
  EXPECT_EQ(monitor_->watching(), LinkMonitor::Watching::polling);
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 up"), 0);
  EXPECT_THAT(events_until(LinkEvent::up), ElementsAre(LinkEvent::up));
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 down"), 0);
  EXPECT_THAT(events_until(LinkEvent::down), ElementsAre(LinkEvent::down));
  ASSERT_EQ(test::run(other.enter() + "ip link set cvlink0 netns " + std::to_string(me)), 0);
  ASSERT_EQ(test::run("ip link del cvlink0"), 0);
  EXPECT_THAT(events_until(LinkEvent::gone), ElementsAre(LinkEvent::gone));
}

TEST_F(LinkMonitorTest, SeesItsLinkWithoutProc) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", "/proc", "tmpfs", 0, nullptr) != 0)
      ::_exit(2);
    open_monitor();
    if (monitor_->watching() != LinkMonitor::Watching::netlink || !set_link_up("cvlink0")) ::_exit(1);
    const std::vector<LinkEvent> events = events_until(LinkEvent::up);
    ::_exit(std::find(events.begin(), events.end(), LinkEvent::up) != events.end() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_NE(WEXITSTATUS(status), 2) << "no mount namespace of its own: run as root";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(LinkMonitorTest, RefusesADescriptorThatIsNoTun) {
  const io::Fd null(::open("/dev/null", O_RDWR));
  const auto monitor = LinkMonitor::open(null.get());
  ASSERT_FALSE(monitor);
  EXPECT_EQ(monitor.error().number, ENOTTY);
}

}  // namespace
}  // namespace culvert::host
