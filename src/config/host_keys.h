// The keys of [Interface] that are about the host: wg-quick(8)'s, and Forward and Masquerade.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "src/host/settings.h"

namespace culvert::config {

enum class HostKey : uint8_t {
  none,      // not a key of these
  basic,     // Address and MTU, which `--config` takes too
  everyday,  // for `culvert up` alone
};

HostKey host_key_kind(std::string_view key);

// Reads the value of a key that is not HostKey::none into `settings`; "" or what is wrong and how to mend it. Pure
// but for a Table that is a name.
std::string parse_host_key(std::string_view key, std::string_view value, host::Settings& settings);

// "" when the interface may be named in a configuration and in firewall rules, else how it has to be written.
std::string configured_name_error(std::string_view name);

}  // namespace culvert::config
