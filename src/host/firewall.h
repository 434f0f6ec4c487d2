// nftables tables of our own, by libnftables; nft(8) need not be there.
#pragma once

#include <string>

#include "io/result.h"

namespace culvert::host {

// Puts `family_and_name` ("ip culvert-wg0") into place with these chains and rules, in one transaction; a table that is
// there is replaced. Errors are libnftables' words.
io::Status set_firewall_table(const std::string& family_and_name, const std::string& chains);

// Whether that would work, as far as it can be said without doing it.
io::Status check_firewall_table(const std::string& family_and_name, const std::string& chains);

// A table that is not there is as good as removed.
io::Status remove_firewall_table(const std::string& family_and_name);

}  // namespace culvert::host
