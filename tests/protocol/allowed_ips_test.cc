#include "src/protocol/allowed_ips.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace culvert::protocol {

std::ostream& operator<<(std::ostream& out, const Prefix& prefix) {
  char text[INET6_ADDRSTRLEN];
  const int family = prefix.version == IpVersion::v4 ? AF_INET : AF_INET6;
  return out << inet_ntop(family, prefix.address.data(), text, sizeof(text)) << '/' << int{prefix.cidr};
}

namespace {

Prefix prefix(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  Prefix result;
  result.version = address.find(':') == std::string::npos ? IpVersion::v4 : IpVersion::v6;
  const int family = result.version == IpVersion::v4 ? AF_INET : AF_INET6;
  EXPECT_EQ(inet_pton(family, address.c_str(), result.address.data()), 1) << text;
  const int full = result.version == IpVersion::v4 ? 32 : 128;
  result.cidr = static_cast<uint8_t>(slash == std::string::npos ? full : std::stoi(text.substr(slash + 1)));
  return result;
}

// Peers are named by letters; their handles are addresses in this array.
PeerTag peers[128];
PeerHandle peer(char name) {
  return &peers[static_cast<size_t>(name)];
}
char name_of(PeerHandle handle) {
  return handle == nullptr ? '-' : static_cast<char>(handle - peers);
}

char find(const AllowedIps& ips, const std::string& address) {
  const Prefix p = prefix(address);
  return name_of(p.version == IpVersion::v4 ? ips.find_v4(p.address.data()) : ips.find_v6(p.address.data()));
}

std::vector<Prefix> prefixes_of(const AllowedIps& ips, char name) {
  std::vector<Prefix> result;
  ips.for_each(peer(name), [&result](const Prefix& p) { result.push_back(p); });
  return result;
}

std::vector<Prefix> prefix_list(const std::vector<std::string>& texts) {
  std::vector<Prefix> result;
  for (const std::string& text : texts) result.push_back(prefix(text));
  return result;
}

struct LookupCase {
  std::string name;
  std::vector<std::pair<std::string, char>> inserted;
  std::vector<std::pair<std::string, char>> found;
};

TEST(AllowedIps, FindsTheLongestPrefix) {
  const std::vector<LookupCase> cases = {
      {"an empty table knows nobody", {}, {{"10.0.0.1", '-'}, {"::1", '-'}}},
      {"a single address", {{"10.0.0.1/32", 'a'}}, {{"10.0.0.1", 'a'}, {"10.0.0.0", '-'}, {"10.0.0.2", '-'}}},
      {"a default route catches the rest",
       {{"0.0.0.0/0", 'a'}, {"10.0.0.0/8", 'b'}},
       {{"10.255.255.255", 'b'}, {"11.0.0.0", 'a'}, {"255.255.255.255", 'a'}, {"::1", '-'}}},
      {"the order of insertion does not matter",
       {{"192.168.4.4/32", 'c'}, {"192.168.0.0/16", 'a'}, {"192.168.4.0/24", 'b'}, {"0.0.0.0/0", 'd'}},
       {{"192.168.4.4", 'c'}, {"192.168.4.5", 'b'}, {"192.168.5.0", 'a'}, {"192.169.0.0", 'd'}}},
      {"bits behind the prefix are ignored",
       {{"10.1.2.3/8", 'a'}, {"2001:db8::ffff/32", 'b'}},
       {{"10.200.0.1", 'a'}, {"2001:db8:1::", 'b'}, {"2001:db9::", '-'}}},
      {"siblings that differ in the last bit",
       {{"10.0.0.2/32", 'a'}, {"10.0.0.3/32", 'b'}},
       {{"10.0.0.2", 'a'}, {"10.0.0.3", 'b'}, {"10.0.0.1", '-'}}},
      {"v6 prefixes across word boundaries",
       {{"2001:db8::/32", 'a'},
        {"2001:db8:0:0:8000::/65", 'b'},
        {"2001:db8::1/128", 'c'},
        {"::/0", 'd'},
        {"2001:db8::/33", 'e'}},
       {{"2001:db8:0:0:8000::1", 'b'},
        {"2001:db8::1", 'c'},
        {"2001:db8::2", 'e'},
        {"2001:db8:8000::", 'a'},
        {"ffff::", 'd'}}},
      {"inserting again takes the prefix from its owner",
       {{"10.0.0.0/8", 'a'}, {"10.0.0.0/8", 'b'}},
       {{"10.1.1.1", 'b'}}},
      {"a v4 prefix is not a v6 one", {{"0.0.0.0/0", 'a'}}, {{"::", '-'}, {"0.0.0.0", 'a'}}},
  };
  for (const LookupCase& c : cases) {
    SCOPED_TRACE(c.name);
    AllowedIps ips;
    for (const auto& [text, owner] : c.inserted) EXPECT_TRUE(ips.insert(prefix(text), peer(owner)));
    for (const auto& [address, owner] : c.found) EXPECT_EQ(find(ips, address), owner) << address;
  }
}

TEST(AllowedIps, RefusesAPrefixLongerThanTheAddress) {
  AllowedIps ips;
  EXPECT_FALSE(ips.insert(Prefix{.address = {}, .version = IpVersion::v4, .cidr = 33}, peer('a')));
  EXPECT_FALSE(ips.insert(Prefix{.address = {}, .version = IpVersion::v6, .cidr = 129}, peer('a')));
  EXPECT_FALSE(ips.remove(Prefix{.address = {}, .version = IpVersion::v4, .cidr = 255}, peer('a')));
  EXPECT_EQ(ips.size(), 0u);
}

TEST(AllowedIps, ListsAPeersPrefixesInOrderOfInsertion) {
  AllowedIps ips;
  for (const char* text : {"10.2.0.0/16", "fd00::/8", "10.1.0.0/16", "::/0", "10.0.0.0/8"})
    ips.insert(prefix(text), peer('a'));
  ips.insert(prefix("10.1.2.3/32"), peer('b'));
  EXPECT_EQ(prefixes_of(ips, 'a'), prefix_list({"10.2.0.0/16", "10.1.0.0/16", "10.0.0.0/8", "fd00::/8", "::/0"}));
  EXPECT_EQ(prefixes_of(ips, 'b'), prefix_list({"10.1.2.3/32"}));
  EXPECT_TRUE(prefixes_of(ips, 'c').empty());

  ips.insert(prefix("10.1.0.0/16"), peer('b'));
  EXPECT_EQ(prefixes_of(ips, 'a'), prefix_list({"10.2.0.0/16", "10.0.0.0/8", "fd00::/8", "::/0"}));
  EXPECT_EQ(prefixes_of(ips, 'b'), prefix_list({"10.1.2.3/32", "10.1.0.0/16"}));
  EXPECT_EQ(ips.size(), 6u);
}

TEST(AllowedIps, ListsPrefixesWithTheBitsBehindThemZero) {
  AllowedIps ips;
  ips.insert(prefix("10.1.2.3/12"), peer('a'));
  ips.insert(prefix("2001:db8:ffff:ffff::1/35"), peer('a'));
  EXPECT_EQ(prefixes_of(ips, 'a'), prefix_list({"10.0.0.0/12", "2001:db8:e000::/35"}));
}

TEST(AllowedIps, RemovesOnlyFromTheOwner) {
  AllowedIps ips;
  ips.insert(prefix("10.0.0.0/8"), peer('a'));
  ips.insert(prefix("10.1.0.0/16"), peer('b'));
  EXPECT_FALSE(ips.remove(prefix("10.0.0.0/8"), peer('b')));
  EXPECT_FALSE(ips.remove(prefix("10.0.0.0/9"), peer('a')));
  EXPECT_FALSE(ips.remove(prefix("10.0.0.0/8"), peer('c')));
  EXPECT_TRUE(ips.remove(prefix("10.77.0.1/8"), peer('a'))) << "masked as at insertion";
  EXPECT_FALSE(ips.remove(prefix("10.0.0.0/8"), peer('a')));
  EXPECT_EQ(find(ips, "10.2.0.0"), '-');
  EXPECT_EQ(find(ips, "10.1.0.0"), 'b');
  EXPECT_EQ(ips.size(), 1u);
}

TEST(AllowedIps, KnowsWhoHasAPrefixAndNotWhatIsBelowOrAbove) {
  AllowedIps ips;
  ips.insert(prefix("10.0.0.0/8"), peer('a'));
  ips.insert(prefix("10.1.0.0/16"), peer('b'));
  ips.insert(prefix("10.2.0.0/16"), peer('c'));
  ips.insert(prefix("::/0"), peer('a'));
  EXPECT_EQ(name_of(ips.owner_of(prefix("10.0.0.0/8"))), 'a');
  EXPECT_EQ(name_of(ips.owner_of(prefix("10.1.2.3/16"))), 'b');
  EXPECT_EQ(name_of(ips.owner_of(prefix("::/0"))), 'a');
  for (const char* const text : {"0.0.0.0/0", "10.0.0.0/14", "10.1.0.0/17", "10.1.0.1/32", "11.0.0.0/8", "::1/128"})
    EXPECT_EQ(ips.owner_of(prefix(text)), nullptr) << text;
}

TEST(AllowedIps, HandsAllPrefixesOver) {
  AllowedIps ips;
  ips.insert(prefix("10.0.0.0/8"), peer('a'));
  ips.insert(prefix("::/0"), peer('a'));
  ips.insert(prefix("10.1.0.0/16"), peer('b'));
  ips.hand_over(peer('a'), peer('c'));
  ips.hand_over(peer('x'), peer('y'));
  EXPECT_EQ(find(ips, "10.0.0.1"), 'c');
  EXPECT_EQ(find(ips, "::1"), 'c');
  EXPECT_EQ(find(ips, "10.1.0.1"), 'b');
  EXPECT_TRUE(prefixes_of(ips, 'a').empty());
  EXPECT_EQ(prefixes_of(ips, 'c'), prefix_list({"10.0.0.0/8", "::/0"}));
  ips.remove_all(peer('c'));
  EXPECT_EQ(ips.size(), 1u);
}

TEST(AllowedIps, ACopyStaysAsItWas) {
  AllowedIps ips;
  ips.insert(prefix("10.0.0.0/8"), peer('a'));
  const AllowedIps snapshot = ips;
  ips.remove_all(peer('a'));
  ips.insert(prefix("10.0.0.0/8"), peer('b'));
  EXPECT_EQ(find(snapshot, "10.1.1.1"), 'a');
  EXPECT_EQ(find(ips, "10.1.1.1"), 'b');
  EXPECT_EQ(prefixes_of(snapshot, 'a').size(), 1u);
}

// --- against a linear scan ---

class LinearScan {
 public:
  void insert(Prefix p, char owner) { prefixes_[key(p)] = owner; }
  bool remove(const Prefix& p, char owner) {
    const auto entry = prefixes_.find(key(p));
    if (entry == prefixes_.end() || entry->second != owner) return false;
    prefixes_.erase(entry);
    return true;
  }
  void remove_all(char owner) {
    std::erase_if(
        prefixes_, [owner](const auto& entry) { return entry.second == owner; });
  }
  char find(const Prefix& address) const {
    char best = '-';
    int best_cidr = -1;
    for (const auto& [k, owner] : prefixes_) {
      const auto& [version, cidr, bytes] = k;
      if (version != address.version || cidr <= best_cidr) continue;
      if (key(Prefix{.address = address.address, .version = version, .cidr = cidr}) == k) {
        best = owner;
        best_cidr = cidr;
      }
    }
    return best;
  }
  size_t size() const { return prefixes_.size(); }
  size_t size(char owner) const {
    size_t n = 0;
    for (const auto& entry : prefixes_) n += entry.second == owner ? 1 : 0;
    return n;
  }

 private:
  using Key = std::tuple<IpVersion, uint8_t, std::array<uint8_t, 16>>;
  static Key key(Prefix p) {
    for (size_t i = 0; i < 128; ++i)
      if (i >= p.cidr) p.address[i / 8] &= static_cast<uint8_t>(~(0x80u >> (i % 8)));
    return {p.version, p.cidr, p.address};
  }
  std::map<Key, char> prefixes_;
};

// Addresses with few distinct bits, so that prefixes nest and meet often.
Prefix random_prefix(std::mt19937& random) {
  Prefix p;
  p.version = random() % 2 == 0 ? IpVersion::v4 : IpVersion::v6;
  const size_t bytes = p.version == IpVersion::v4 ? 4 : 16;
  const uint8_t choices[] = {0x00, 0x01, 0x80, 0xff, 0x10};
  for (size_t i = 0; i < bytes; ++i) p.address[i] = choices[random() % (random() % 4 == 0 ? 5 : 2)];
  p.cidr = static_cast<uint8_t>(random() % (8 * bytes + 1));
  if (random() % 3 == 0) p.cidr = static_cast<uint8_t>(8 * bytes);
  return p;
}

TEST(AllowedIps, AgreesWithALinearScanOnRandomChanges) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    AllowedIps ips;
    LinearScan scan;
    for (int i = 0; i < 1500; ++i) {
      const Prefix p = random_prefix(random);
      const char owner = static_cast<char>('a' + random() % 5);
      const uint32_t choice = random() % 100;
      if (choice < 55) {
        EXPECT_TRUE(ips.insert(p, peer(owner)));
        scan.insert(p, owner);
      } else if (choice < 99) {
        ASSERT_EQ(ips.remove(p, peer(owner)), scan.remove(p, owner)) << p;
      } else {
        ips.remove_all(peer(owner));
        scan.remove_all(owner);
      }
      ASSERT_EQ(ips.size(), scan.size());
      for (int j = 0; j < 3; ++j) {
        const Prefix address = random_prefix(random);
        const char found = name_of(address.version == IpVersion::v4 ? ips.find_v4(address.address.data())
                                                                    : ips.find_v6(address.address.data()));
        ASSERT_EQ(found, scan.find(address)) << address;
      }
    }
    for (char owner = 'a'; owner < 'f'; ++owner) {
      ASSERT_EQ(prefixes_of(ips, owner).size(), scan.size(owner));
      ips.remove_all(peer(owner));
      scan.remove_all(owner);
      ASSERT_EQ(ips.size(), scan.size());
    }
    EXPECT_EQ(ips.size(), 0u);
  }
}

// As many as fill a UAPI reply of wg(8)'s biggest test: 130,560 in one peer.
TEST(AllowedIps, ManyPrefixesInOnePeerAreSmallAndQuick) {
  constexpr uint32_t kMany = 130'560;
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6 ? "v6" : "v4");
    std::vector<Prefix> all(kMany);
    for (uint32_t i = 0; i < kMany; ++i) {
      Prefix& p = all[i];
      p.version = v6 ? IpVersion::v6 : IpVersion::v4;
      p.address[0] = v6 ? 0xfd : 10;
      const size_t low = v6 ? 13 : 1;
      for (size_t byte = 0; byte < 3; ++byte) p.address[low + byte] = static_cast<uint8_t>(i >> (16 - 8 * byte));
      p.cidr = v6 ? 128 : 32;
    }

    const auto begin = std::chrono::steady_clock::now();
    AllowedIps ips;
    for (const Prefix& p : all) ips.insert(p, peer('a'));
    std::vector<Prefix> listed;
    ips.for_each(peer('a'), [&listed](const Prefix& p) { listed.push_back(p); });
    const auto inserted = std::chrono::steady_clock::now();
    const AllowedIps snapshot = ips;
    const auto copied = std::chrono::steady_clock::now();
    size_t found = 0;
    for (const Prefix& p : all)
      found += (v6 ? snapshot.find_v6(p.address.data()) : snapshot.find_v4(p.address.data())) != nullptr ? 1 : 0;
    const auto looked_up = std::chrono::steady_clock::now();
    ips.remove_all(peer('a'));
    const auto removed = std::chrono::steady_clock::now();

    EXPECT_EQ(found, kMany);
    EXPECT_EQ(listed, all);
    EXPECT_EQ(ips.size(), 0u);
    EXPECT_EQ(ips.memory_bytes() / 1024, 0u) << "an empty table lets its memory go";
    EXPECT_LE(snapshot.memory_bytes(), 10u << 20);
    const auto ms = [](auto from, auto to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
    std::printf("%s: insert and list %.1f ms, copy %.1f ms, find %.0f ns each, remove %.1f ms, %.1f MiB\n",
                v6 ? "v6" : "v4", ms(begin, inserted), ms(inserted, copied), ms(copied, looked_up) * 1e6 / kMany,
                ms(looked_up, removed), static_cast<double>(snapshot.memory_bytes()) / (1 << 20));
  }
}

}  // namespace
}  // namespace culvert::protocol
