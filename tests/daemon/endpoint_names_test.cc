#include "src/daemon/endpoint_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/fake_device.h"

namespace culvert::daemon {
namespace {

using std::chrono::seconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;

protocol::Instant at(int second) {
  return protocol::Instant(seconds(1000 + second));
}

io::Address address(const std::string& text) {
  io::Endpoint endpoint;
  EXPECT_TRUE(io::parse_endpoint(text + ":1", endpoint)) << text;
  return endpoint.remote;
}

config::Config named(const std::string& host, std::optional<seconds> resolve_every = std::nullopt) {
  config::Config config;
  config.resolve_every = resolve_every;
  config.peers.emplace_back().public_key = test::key_number(1);
  config.peers.back().endpoint_name = {host, 51820};
  return config;
}

class EndpointNamesTest : public ::testing::Test {
 protected:
  // Asks what is due, and answers it.
  std::string ask_and_answer(int second, const std::vector<io::Address>& addresses) {
    const auto questions = names_.due(at(second), next_id_);
    EXPECT_THAT(questions, SizeIs(1)) << second;
    if (questions.empty()) return "no question";
    const auto change = names_.answered(questions[0].id, addresses, at(second));
    return change ? io::to_string(change->endpoint) : "";
  }

  // Looks each second, with a peer that has `contact_` and starts a handshake every five; what it is to be tried at.
  std::string look(int from, int to) {
    std::string tried;
    for (int second = from; second < to; ++second) {
      if (contact_.initiating && (second - from) % 5 == 0) ++initiations_;
      for (const auto& change : look_once(second)) {
        tried += std::to_string(second) + ":" + io::to_string(change.endpoint) + " ";
        contact_.endpoint = change.endpoint;
      }
    }
    return tried;
  }

  std::vector<EndpointNames::Change> look_once(int second) {
    return names_.look(
        at(second), initiations_,
        [this](const device::Key&) {
          ++looks_;
          return contact_;
        });
  }

  EndpointNames names_;
  uint64_t next_id_ = 1, initiations_ = 0;
  int looks_ = 0;
  device::PeerContact contact_;
};

TEST_F(EndpointNamesTest, AsksAgainLaterAndLaterUntilThereIsAnAnswer) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_FALSE(names_.all_answered());
  EXPECT_EQ(ask_and_answer(0, {}), "");
  EXPECT_TRUE(names_.all_answered());
  EXPECT_THAT(names_.due(at(0), next_id_), IsEmpty());
  EXPECT_EQ(ask_and_answer(1, {}), "");
  EXPECT_THAT(names_.due(at(2), next_id_), IsEmpty());
  EXPECT_EQ(ask_and_answer(3, {}), "");
  EXPECT_EQ(ask_and_answer(7, {address("192.0.2.1")}), "192.0.2.1:51820");
  EXPECT_THAT(names_.due(at(100000), next_id_), IsEmpty()) << "it is known, and nothing fails";
}

TEST_F(EndpointNamesTest, LooksUpAgainByTheClockAndChangesWhatChanged) {
  names_.set(named("vpn.example", seconds(60)), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1"), address("[2001:db8::1]")}), "192.0.2.1:51820");
  EXPECT_THAT(names_.due(at(59), next_id_), IsEmpty());
  EXPECT_EQ(ask_and_answer(60, {address("[2001:db8::1]"), address("192.0.2.1")}), "") << "in another order: the same";
  EXPECT_EQ(ask_and_answer(120, {address("192.0.2.9")}), "192.0.2.9:51820");
  EXPECT_EQ(ask_and_answer(180, {}), "") << "a resolver that fails takes nothing away";
}

TEST_F(EndpointNamesTest, LetsAddressesTakeTurnsWhileNoHandshakeSucceeds) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("[2001:db8::1]"), address("192.0.2.1")}), "[2001:db8::1]:51820");
  contact_.endpoint.remote = address("[2001:db8::1]");
  contact_.initiating = true;
  EXPECT_EQ(look(0, 12), "5:192.0.2.1:51820 10:[2001:db8::1]:51820 ");
  contact_.last_handshake = protocol::WallTime(seconds(5));
  contact_.initiating = false;
  EXPECT_EQ(look(12, 40), "");
  EXPECT_THAT(names_.due(at(40), next_id_), IsEmpty());
}

TEST_F(EndpointNamesTest, StaysWithAnAddressThatIsAmongOthersNow) {
  names_.set(named("vpn.example", seconds(60)), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1")}), "192.0.2.1:51820");
  EXPECT_EQ(ask_and_answer(60, {address("192.0.2.7"), address("192.0.2.1")}), "");
  EXPECT_EQ(ask_and_answer(120, {address("192.0.2.7")}), "192.0.2.7:51820") << "it is none of them any more";
  contact_.endpoint.remote = address("192.0.2.7");
  contact_.initiating = true;
  EXPECT_EQ(look(121, 123), "");
  EXPECT_EQ(ask_and_answer(180, {address("[2001:db8::1]"), address("192.0.2.7")}), "192.0.2.7:51820")
      << "it fails, and may race another now";
}

TEST_F(EndpointNamesTest, AsksSoonerWhenItIsToldSoOnReload) {
  names_.set(named("vpn.example", seconds(3600)), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1")}), "192.0.2.1:51820");
  names_.set(named("vpn.example", seconds(60)), at(10));
  EXPECT_EQ(names_.next(), at(70));
}

TEST_F(EndpointNamesTest, RacesTheFirstAddressesOfBothFamilies) {
  names_.set(named("vpn.example"), at(0));
  const auto questions = names_.due(at(0), next_id_);
  ASSERT_THAT(questions, SizeIs(1));
  const auto both = names_.answered(questions[0].id,
                                    {address("[2001:db8::1]"), address("[2001:db8::2]"), address("192.0.2.1")}, at(0));
  ASSERT_TRUE(both && both->rival);
  EXPECT_EQ(io::to_string(both->endpoint), "[2001:db8::1]:51820");
  EXPECT_EQ(io::to_string(*both->rival), "192.0.2.1:51820");
  contact_.endpoint = both->endpoint;
  contact_.initiating = true;
  ++initiations_;
  EXPECT_THAT(look_once(0), IsEmpty());
  const auto next = look_once(5);
  ASSERT_TRUE(next.size() == 1 && next[0].rival);
  EXPECT_EQ(io::to_string(next[0].endpoint), "[2001:db8::2]:51820") << "the next one's turn";
  EXPECT_EQ(io::to_string(*next[0].rival), "192.0.2.1:51820");
}

TEST_F(EndpointNamesTest, HasNoRivalInOneFamily) {
  names_.set(named("vpn.example"), at(0));
  const auto questions = names_.due(at(0), next_id_);
  ASSERT_THAT(questions, SizeIs(1));
  const auto change = names_.answered(questions[0].id, {address("192.0.2.1"), address("192.0.2.2")}, at(0));
  ASSERT_TRUE(change);
  EXPECT_FALSE(change->rival);
}

TEST_F(EndpointNamesTest, IsDueOnlyWhileSomethingIsToBeDone) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_EQ(names_.next(), at(0));
  EXPECT_EQ(ask_and_answer(0, {}), "");
  EXPECT_EQ(names_.next(), at(1));
  EXPECT_EQ(ask_and_answer(1, {address("192.0.2.1")}), "192.0.2.1:51820");
  contact_.endpoint.remote = address("192.0.2.1");
  EXPECT_EQ(names_.next(), std::nullopt) << "the name is known";
  EXPECT_EQ(look(2, 100), "");
  EXPECT_EQ(looks_, 0) << "nothing was sent";
  contact_.initiating = true;
  ++initiations_;
  EXPECT_THAT(look_once(100), IsEmpty());
  EXPECT_EQ(names_.next(), at(101)) << "a handshake may fail";
  contact_.initiating = false;
  contact_.last_handshake = protocol::WallTime(seconds(5));
  EXPECT_THAT(look_once(101), IsEmpty());
  EXPECT_EQ(names_.next(), std::nullopt) << "it has not";
}

TEST_F(EndpointNamesTest, SeesAFailureBehindAHandshakeThatNobodySaw) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1"), address("192.0.2.2")}), "192.0.2.1:51820");
  contact_.endpoint.remote = address("192.0.2.1");
  contact_.last_handshake = protocol::WallTime(seconds(5));  // the peer's doing, so that nothing was sent
  contact_.initiating = true;
  EXPECT_EQ(look(100, 107), "105:192.0.2.2:51820 ");
}

TEST_F(EndpointNamesTest, LooksUpAgainWhenAHandshakeFails) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1")}), "192.0.2.1:51820");
  contact_.endpoint.remote = address("192.0.2.1");
  EXPECT_EQ(look(1, 1000), "");
  contact_.initiating = true;
  EXPECT_EQ(look(1000, 1014), "");
  EXPECT_THAT(names_.due(at(1014), next_id_), IsEmpty());
  EXPECT_EQ(look(1014, 1021), "");
  EXPECT_EQ(ask_and_answer(1021, {address("192.0.2.2")}), "192.0.2.2:51820");
}

TEST_F(EndpointNamesTest, LeavesARoamedPeerAloneUntilItIsLost) {
  names_.set(named("vpn.example", seconds(60)), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1")}), "192.0.2.1:51820");
  contact_.endpoint.remote = address("198.51.100.7");
  contact_.last_handshake = protocol::WallTime(seconds(5));
  EXPECT_EQ(look(1, 60), "");
  EXPECT_EQ(ask_and_answer(60, {address("192.0.2.1")}), "");
  contact_.initiating = true;
  EXPECT_EQ(look(60, 75), "");
  EXPECT_THAT(look(75, 85), testing::HasSubstr("192.0.2.1:51820"));
}

TEST_F(EndpointNamesTest, KeepsWhatIsKnownOfANameThatStays) {
  names_.set(named("vpn.example"), at(0));
  EXPECT_EQ(ask_and_answer(0, {address("192.0.2.1")}), "192.0.2.1:51820");
  names_.set(named("vpn.example"), at(10));
  EXPECT_THAT(names_.due(at(10), next_id_), IsEmpty());
  names_.set(named("other.example"), at(20));
  EXPECT_EQ(ask_and_answer(20, {address("192.0.2.1")}), "192.0.2.1:51820");
  names_.set({}, at(30));
  EXPECT_TRUE(names_.empty());
  EXPECT_EQ(names_.next(), std::nullopt);
}

}  // namespace
}  // namespace culvert::daemon
