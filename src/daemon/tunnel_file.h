// Which file a word on the command line means, and which interface that file is for.
#pragma once

#include <string>

#include "io/result.h"

namespace culvert::daemon {

struct TunnelFile {
  std::string path;  // absolute
  std::string name;  // of the interface
};

// "wg0" is /etc/culvert/wg0.conf, or else /etc/wireguard/wg0.conf; anything else is a path that ends in NAME.conf, as
// wg-quick(8) has it. An error says how to name it. The file of a name need not be there.
io::Result<TunnelFile> find_tunnel_file(const std::string& word);

// The interface that a word means, whether its file is there or not.
io::Result<std::string> find_tunnel_name(const std::string& word);

// "" or a warning: others can read the keys in it.
std::string open_to_the_world(const std::string& path);

}  // namespace culvert::daemon
