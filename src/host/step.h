// One thing that a tunnel asks of the host, as a value: it can be compared, printed, done and undone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/device/encoding.h"

namespace culvert::host {

struct Step {
  enum class Kind : uint8_t {
    address,   // prefix
    link,      // number: MTU; and up
    dns,       // words: servers; more_words: domains to search
    mark,      // number: of the outer sockets
    route,     // prefix; number: table
    rule,      // version; number: mark and table
    suppress,  // version: main's default routes are not looked at
    sysctl,    // name, number
    firewall,  // name: family and table; text: chains and rules
  };

  Kind kind;
  device::Prefix prefix{};
  protocol::IpVersion version = protocol::IpVersion::v4;
  uint32_t number = 0;
  std::string name{};
  std::string text{};
  std::vector<std::string> words{}, more_words{};

  bool operator==(const Step&) const = default;
};

inline constexpr uint32_t kMainTable = 254;

// Whether doing it replaces another step of the same replaces_key(). Of the others each is there or not.
bool can_replace(const Step& step);

// What two steps share when doing the second one replaces the first, so that nothing has to be undone in between; else
// a text that no other step has. Pure.
std::string replaces_key(const Step& step);

// As wg-quick(8) would write it, in one line: "ip -4 route add 10.0.0.0/24 dev wg0". Pure.
std::string describe(const Step& step, const std::string& interface_name);

// Whether what was done outlives an interface that vanished with a killed process.
bool outlives_interface(const Step& step);

// One line for the journal, and back. What cannot be read is no step. Pure.
std::string to_journal(const Step& step);
bool from_journal(std::string_view line, Step& step);

}  // namespace culvert::host
