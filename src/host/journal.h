// What a tunnel has on the host that a killed process would leave behind: in a file, for whoever comes next.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

inline constexpr const char* kRunDirectory = "/run/culvert";

// A file of lines that one living process holds. It lies in /run, so that it lives as long as what it lists. Network
// namespaces share /run, but a name stands for one tunnel of all of them: so do the file and the sockets beside it.
//
// Thread safety: none.
class Journal {
 public:
  // Takes the file of an interface. Error EBUSY: a living process has it; EXDEV: one in another network namespace.
  // lines() is what a dead one left in this network namespace. What one left in another stays in the file, for whoever
  // comes there.
  static io::Result<Journal> open(const std::string& interface_name, const std::string& directory = kRunDirectory);

  const std::vector<std::string>& lines() const { return lines_; }

  // Replaces the lines. A line holds no newline.
  io::Status write(std::vector<std::string> lines);

  // Nothing is left here: the file goes, unless it tells of other namespaces.
  void remove();

 private:
  Journal(io::Fd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}

  void read();
  io::Status write_text(const std::string& text);

  io::Fd file_;
  std::string path_;
  std::vector<std::string> lines_;
  std::vector<std::string> elsewhere_;  // sections of other namespaces, first lines included
};

}  // namespace culvert::host
