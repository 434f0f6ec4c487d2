// The other end of the metrics: asks a running culvert for them, and reads the text.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/result.h"

namespace culvert::daemon {

// A line of the text, which it points into.
struct MetricSample {
  std::string_view labels;  // name="value",... as they are written
  uint64_t value = 0;

  // The value of a label as it is written; without one "".
  std::string_view written(std::string_view name) const;
  // And what it stands for.
  std::string label(std::string_view name) const;
};

// A text of metrics by the names of families, without "culvert_". Ten thousand peers are megabytes: nothing of the text
// is copied. Lines that are no samples are passed over.
//
// Thread safety: as a value.
class MetricFamilies {
 public:
  MetricFamilies() = default;
  explicit MetricFamilies(std::string text);

  // The samples of a family, in their order; none if there is no such family.
  const std::vector<MetricSample>& of(std::string_view family) const;
  bool empty() const { return families_.empty(); }

 private:
  void read_line(std::string_view line);

  std::unique_ptr<const std::string> text_;  // stays where it is when this is moved
  std::map<std::string_view, std::vector<MetricSample>> families_;
};

// Names of interfaces that have a UAPI socket, in order; whoever serves it need not be culvert, nor alive.
std::vector<std::string> interfaces_with_sockets();

// Asks whoever serves the UAPI socket of this interface. Waits for at most `seconds` for each piece. Errors: those of
// connect(2); EPROTO: it is no culvert that knows of metrics.
io::Result<std::string> fetch_metrics(const std::string& socket_path, int seconds = 5);

}  // namespace culvert::daemon
