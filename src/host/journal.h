// What a tunnel has on the host that a killed process would leave behind: in a file, for whoever comes next.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

inline constexpr const char* kRunDirectory = "/run/culvert";

// A file of lines that one living process holds. It lies in /run, so that it lives as long as what it lists.
//
// Thread safety: none.
class Journal {
 public:
  // Takes the file of an interface. Error EBUSY: a living process has it. lines() is what a dead one left in this
  // network namespace; of another namespace, nothing.
  static io::Result<Journal> open(const std::string& interface_name, const std::string& directory = kRunDirectory);

  const std::vector<std::string>& lines() const { return lines_; }

  // Replaces the lines. A line holds no newline.
  io::Status write(std::vector<std::string> lines);

  // Nothing is left: the file goes.
  void remove();

 private:
  Journal(io::Fd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}

  io::Fd file_;
  std::string path_;
  std::vector<std::string> lines_;
};

}  // namespace culvert::host
