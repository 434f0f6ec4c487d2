#include "src/device/groups.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>

#include "tests/pipeline/peers.h"

namespace culvert::device {
namespace {

using Names = std::vector<std::string>;

Prefix prefix(const std::string& text) {
  return parse_prefix(text, PrefixLength::required).value_or(Prefix{});
}

// Groups and four peers, which are called by their numbers.
struct Table {
  Table() {
    for (uint64_t id = 0; id < 4; ++id) peers.emplace_back(id);
  }

  pipeline::PeerPath& peer(size_t n) { return peers[n].path; }
  void join(size_t n, const std::string& name) {
    Groups::State state = good();
    state.home_slot = static_cast<uint8_t>(n);
    groups.join(peer(n), name, n + 1, state);
  }
  void add(size_t n, const std::string& text) { EXPECT_TRUE(groups.add(peer(n), prefix(text))); }
  void remove(size_t n, const std::string& text) { groups.remove(peer(n), prefix(text)); }

  Names given(size_t n) {
    Names names;
    groups.for_each(peer(n), [&](const Prefix& one) { names.push_back(to_string(one)); });
    return names;
  }
  // Who has the prefix: the numbers of the peers that its packets may go to.
  std::set<size_t> owners(const std::string& text) {
    const protocol::PeerHandle owner = groups.allowed_ips().owner_of(prefix(text));
    if (owner == nullptr) return {};
    if (!pipeline::route_of(owner).is_group) return {pipeline::path_of(owner)->id};
    std::set<size_t> numbers;
    for (size_t n = 0; n < peers.size(); ++n)
      if (pipeline::may_send_from(peer(n), owner)) numbers.insert(n);
    return numbers;
  }
  // The peers that a worker's flows go to.
  std::set<size_t> chosen(const std::string& text, size_t worker = 0) {
    const auto* const group =
        static_cast<const pipeline::PeerGroup*>(&pipeline::route_of(groups.allowed_ips().owner_of(prefix(text))));
    std::set<size_t> numbers;
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) numbers.insert(group->choose(random(), worker).id);
    return numbers;
  }
  void publish() { groups.publish(retired); }

  static Groups::State good() { return {.alive = true, .has_endpoint = true, .home_slot = 0}; }
  static Groups::State dead() { return {.alive = false, .has_endpoint = true, .home_slot = 0}; }

  std::deque<pipeline::test::TestPeer> peers;
  Groups groups;
  std::vector<std::unique_ptr<const pipeline::PeerGroup>> retired;
};

TEST(Groups, ShareWhatAnyMemberWasGiven) {
  Table table;
  table.join(0, "paris");
  table.join(1, "paris");
  table.add(0, "10.0.0.0/8");
  table.add(1, "fd00::/8");
  table.publish();
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  EXPECT_EQ(table.owners("fd00::/8"), (std::set<size_t>{0, 1}));
  EXPECT_EQ(table.given(0), Names{"10.0.0.0/8"});
  EXPECT_EQ(table.given(1), Names{"fd00::/8"});
  EXPECT_EQ(table.groups.name_of(table.peer(1)), "paris");
  EXPECT_EQ(table.groups.name_of(table.peer(2)), "");
}

TEST(Groups, KeepAPrefixAsLongAsOneMemberHasIt) {
  Table table;
  for (const size_t n : {size_t{0}, size_t{1}}) {
    table.join(n, "paris");
    table.add(n, "10.0.0.0/8");
  }
  table.remove(0, "10.0.0.0/8");
  table.publish();
  EXPECT_EQ(table.given(0), Names{});
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  table.groups.remove_all(table.peer(1));
  EXPECT_EQ(table.owners("10.0.0.0/8"), std::set<size_t>{});
}

TEST(Groups, LoseAPrefixToWhoeverIsGivenItLater) {
  Table table;
  for (const size_t n : {size_t{0}, size_t{1}}) {
    table.join(n, "paris");
    table.add(n, "10.0.0.0/8");
  }
  table.add(2, "10.0.0.0/8");
  EXPECT_EQ(table.owners("10.0.0.0/8"), std::set<size_t>{2});
  for (const size_t n : {size_t{0}, size_t{1}}) EXPECT_EQ(table.given(n), Names{});
  table.add(1, "10.0.0.0/8");
  table.publish();
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  EXPECT_EQ(table.given(2), Names{});
}

TEST(Groups, LetAPeerBringItsAllowedIpsAndTakeThemAlong) {
  Table table;
  table.add(0, "10.0.0.0/8");
  table.add(0, "10.1.0.0/16");
  table.join(0, "paris");
  table.join(1, "paris");
  table.add(1, "10.1.0.0/16");
  table.publish();
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  EXPECT_EQ(table.given(0), (Names{"10.0.0.0/8", "10.1.0.0/16"}));

  table.groups.leave(table.peer(0));
  table.publish();
  EXPECT_EQ(table.owners("10.0.0.0/8"), std::set<size_t>{0});
  EXPECT_EQ(table.owners("10.1.0.0/16"), std::set<size_t>{1}) << "another member has it still";
  EXPECT_EQ(table.given(0), Names{"10.0.0.0/8"});
}

TEST(Groups, MoveAPeerFromOneToAnother) {
  Table table;
  table.join(0, "paris");
  table.add(0, "10.0.0.0/8");
  table.join(1, "oslo");
  table.join(0, "oslo");
  table.publish();
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  EXPECT_EQ(table.groups.size(), 1u) << "the last one that leaves takes the group along";
}

// A worker may have the older allowed IPs: what they name lives until it is retired, and stays as it was.
TEST(Groups, PublishAnotherObjectForOtherMembers) {
  Table table;
  table.join(0, "paris");
  table.add(0, "10.0.0.0/8");
  table.publish();
  const protocol::AllowedIps before = table.groups.allowed_ips();
  const protocol::PeerHandle old = before.owner_of(prefix("10.0.0.0/8"));
  table.retired.clear();
  table.join(1, "paris");
  table.publish();
  ASSERT_EQ(table.retired.size(), 1u);
  EXPECT_EQ(table.retired[0].get(), old);
  EXPECT_FALSE(pipeline::may_send_from(table.peer(1), old));
  EXPECT_EQ(table.owners("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  EXPECT_FALSE(table.groups.changed());
}

TEST(Groups, SendFlowsToThoseAliveElseToThoseWithAnEndpointElseToAll) {
  Table table;
  for (const size_t n : {size_t{0}, size_t{1}, size_t{2}}) table.join(n, "paris");
  table.add(0, "10.0.0.0/8");
  table.publish();
  EXPECT_EQ(table.chosen("10.0.0.0/8"), (std::set<size_t>{0, 1, 2}));
  EXPECT_TRUE(table.groups.set_state(table.peer(1), Table::dead()));
  EXPECT_FALSE(table.groups.set_state(table.peer(1), Table::dead()));
  EXPECT_EQ(table.chosen("10.0.0.0/8"), (std::set<size_t>{0, 2}));
  table.groups.set_state(table.peer(0), Table::dead());
  table.groups.set_state(table.peer(2), {.alive = false, .has_endpoint = false});
  EXPECT_EQ(table.chosen("10.0.0.0/8"), (std::set<size_t>{0, 1}));
  for (const size_t n : {size_t{0}, size_t{1}}) table.groups.set_state(table.peer(n), {.alive = false});
  EXPECT_EQ(table.chosen("10.0.0.0/8"), (std::set<size_t>{0, 1, 2}));
  table.groups.set_state(table.peer(1), Table::good());
  EXPECT_EQ(table.chosen("10.0.0.0/8"), std::set<size_t>{1});
}

TEST(Groups, PreferForEachWorkerTheMembersWhoseAnswersComeToIt) {
  Table table;
  for (size_t n = 0; n < 4; ++n) table.join(n, "paris");
  table.add(0, "10.0.0.0/8");
  table.groups.set_workers(3, [](uint8_t slot) { return slot % 2; });
  table.publish();
  EXPECT_EQ(table.chosen("10.0.0.0/8", 0), (std::set<size_t>{0, 2}));
  EXPECT_EQ(table.chosen("10.0.0.0/8", 1), (std::set<size_t>{1, 3}));
  EXPECT_EQ(table.chosen("10.0.0.0/8", 2), (std::set<size_t>{0, 1, 2, 3})) << "no member is at home there";
  for (const size_t n : {size_t{1}, size_t{3}})
    table.groups.set_state(table.peer(n), {.alive = false, .has_endpoint = true, .home_slot = 1});
  EXPECT_EQ(table.chosen("10.0.0.0/8", 1), (std::set<size_t>{0, 2}));
  table.groups.set_workers(3, [](uint8_t slot) { return slot; });
  EXPECT_EQ(table.chosen("10.0.0.0/8", 0), std::set<size_t>{0});
}

TEST(Groups, GiveMembersNeighbouringHomeSlots) {
  Table table;
  EXPECT_EQ(table.groups.home_slot_in("paris", 127), 127);
  Groups::State state = Table::good();
  state.home_slot = 127;
  table.groups.join(table.peer(0), "paris", 1, state);
  EXPECT_EQ(table.groups.home_slot_in("paris", 5), 0);
  state.home_slot = 0;
  table.groups.join(table.peer(1), "paris", 2, state);
  EXPECT_EQ(table.groups.home_slot_in("paris", 5), 1);
}

TEST(Groups, HaveABoundedNumberOfMembers) {
  Groups groups;
  std::deque<pipeline::test::TestPeer> peers;
  for (size_t n = 0; n < kMaxGroupMembers; ++n) {
    ASSERT_TRUE(groups.has_room("paris"));
    groups.join(peers.emplace_back(n).path, "paris", n, Table::good());
  }
  EXPECT_FALSE(groups.has_room("paris"));
  EXPECT_TRUE(groups.has_room("oslo"));
}

// Whatever is configured in whatever order: a prefix has one owner at most, a peer outside or one group, which are
// those that were given it; and what workers are shown agrees.
TEST(Groups, StayConsistentUnderRandomChanges) {
  constexpr std::array kPrefixes = {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "fd00::/8", "fd00::/64", "0.0.0.0/0"};
  const Names kNames = {"", "paris", "oslo"};
  std::mt19937 random(1);
  Table table;
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int i = 0; i < 20'000; ++i) {
    const size_t n = below(4);
    switch (below(6)) {
      case 0:
      case 1:
      case 2:
        table.add(n, kPrefixes[below(kPrefixes.size())]);
        break;
      case 3:
        table.remove(n, kPrefixes[below(kPrefixes.size())]);
        break;
      case 4:
        if (below(8) == 0) table.groups.remove_all(table.peer(n));
        break;
      default: {
        const std::string& name = kNames[below(kNames.size())];
        if (name.empty())
          table.groups.leave(table.peer(n));
        else if (table.groups.name_of(table.peer(n)) != name)
          table.join(n, name);
      }
    }
    table.publish();
    for (const char* const text : kPrefixes) {
      std::set<size_t> expected;
      for (size_t holder = 0; holder < 4; ++holder) {
        const Names given = table.given(holder);
        if (std::find(given.begin(), given.end(), text) == given.end()) continue;
        const std::string& name = table.groups.name_of(table.peer(holder));
        for (size_t other = 0; other < 4; ++other)
          if (other == holder || (!name.empty() && table.groups.name_of(table.peer(other)) == name))
            expected.insert(other);
      }
      ASSERT_EQ(table.owners(text), expected) << text << " after " << i << " changes";
    }
    table.retired.clear();
  }
}

}  // namespace
}  // namespace culvert::device
