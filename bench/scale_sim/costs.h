// What packets and batches cost a core.
#pragma once

#include <string>
#include <string_view>

#include "io/result.h"

namespace culvert::scale_sim {

// Nanoseconds of one core. `tools/scale-sim --help` says what measured the defaults, and where.
struct Costs {
  double outbound_ns = 260;   // a packet: routed, segmented, sealed
  double inbound_ns = 260;    // a packet: opened, admitted, joined
  double wakeup_ns = 840;     // a batch: epoll_wait, a read and a write
  double handover_ns = 1000;  // a batch that goes to another core, for each of the two
  double shared_ns = 130;     // a batch of a tunnel that several cores serve: its counter or its window moves
  double batch = 45;          // packets that come together
  double bytes = 1420;        // of an inner packet

  // Of a core that does nothing else, in packets a second.
  [[nodiscard]] double outbound_rate() const { return 1e9 / (outbound_ns + wakeup_ns / batch); }
  [[nodiscard]] double inbound_rate() const { return 1e9 / (inbound_ns + wakeup_ns / batch); }
  // What a tunnel carries between two cores, and each further pair of cores could.
  [[nodiscard]] double one_core_rate() const;
  [[nodiscard]] double gbps(double packets_per_second) const { return packets_per_second * bytes * 8e-9; }
};

// `word` is a number of nanoseconds, for a packet in either direction, or names a JSON file: an object with any of
// outbound, inbound, wakeup, handover, shared (nanoseconds), batch (packets) and bytes; the rest stays as it is.
[[nodiscard]] io::Result<Costs> read_costs(const std::string& word);
// The JSON text alone. `where` names it in errors.
[[nodiscard]] io::Result<Costs> parse_costs(std::string_view json, std::string where);

}  // namespace culvert::scale_sim
