// The host's own name servers while a tunnel is up: by resolvconf(8), else by systemd-resolved's resolvectl(1).
#pragma once

#include <string>
#include <vector>

#include "io/result.h"
#include "src/host/command.h"

namespace culvert::host {

enum class DnsProgram : uint8_t { none, resolvconf, resolvectl };

// Whichever is there; wg-quick takes resolvconf alone, which systemd-resolved brings too.
DnsProgram find_dns_program();

// "tun." where Debian's old resolvconf orders interfaces by prefix, as wg-quick reads it from `interface_order`.
std::string resolvconf_prefix(const std::string& interface_order);

// What to run so that the tunnel's servers are asked, and they alone. Pure.
std::vector<Command> set_dns_commands(DnsProgram program, const std::string& prefix, const std::string& interface_name,
                                      const std::vector<std::string>& servers, const std::vector<std::string>& search);
std::vector<Command> unset_dns_commands(DnsProgram program, const std::string& prefix,
                                        const std::string& interface_name);

// Why resolvconf(8) could not change `resolv_conf`, of which it says nothing itself: the folder is read-only, as a
// service manager has it. "" if it can, or if systemd-resolved does so.
std::string resolv_conf_refusal(const std::string& resolv_conf = "/etc/resolv.conf");

// The text of /etc/resolvconf/interface-order, "" without one.
std::string read_interface_order();

}  // namespace culvert::host
