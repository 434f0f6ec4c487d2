#include "src/daemon/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "src/device/encoding.h"

namespace culvert::daemon {
namespace {

using pipeline::kDropReasonNames;

// As the text format wants it within quotes; an interface name may hold both of these.
std::string escape_label(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

std::string label(std::string_view name, std::string_view value) {
  return fmt::format("{}=\"{}\"", name, value);
}

// Writes one metric family after the other.
class Exposition {
 public:
  explicit Exposition(const std::string& device) : device_(escape_label(device)) {}

  // The family of the samples that follow, of which the head has been written before.
  void resume(std::string_view name) { name_ = name; }
  void family(std::string_view name, std::string_view type, std::string_view help) {
    resume(name);
    append("# HELP culvert_{} {}\n# TYPE culvert_{} {}\n", name, help, name, type);
  }
  // `labels`: name="value", as it is.
  void sample(std::string_view labels, uint64_t value) {
    append("culvert_{}{{device=\"{}\"{}{}}} {}\n", name_, device_, labels.empty() ? "" : ",", labels, value);
  }
  void gauge(std::string_view name, std::string_view help, std::string_view labels, uint64_t value) {
    family(name, "gauge", help);
    sample(labels, value);
  }

  // The families of a table; `samples(i)` writes those of its entry i.
  template <typename Counters, size_t kEntries, typename Samples>
  void families(const io::CounterTable<Counters, kEntries>& table, Samples&& samples) {
    for (size_t i = 0; i < kEntries; ++i) {
      if (i == 0 || table[i].name != table[i - 1].name) family(table[i].name, "counter", table[i].help);
      samples(i);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  template <typename... Args>
  void append(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  const std::string device_;
  std::string_view name_;
  std::string text_;
};

void write_drops(Exposition& out, const device::Metrics& metrics) {
  out.family("drops_total", "counter", "Packets and datagrams that went no further, by reason.");
  for (size_t i = 0; i < pipeline::kDropReasons; ++i) {
    uint64_t drops = 0;
    for (const device::WorkerMetrics& worker : metrics.workers) drops += worker.drops[i];
    out.sample(label("reason", kDropReasonNames[i]), drops);
  }
  for (size_t i = 0; i < io::kOuterCounters.size(); ++i)
    if (!io::kOuterCounters[i].drop.empty()) out.sample(label("reason", io::kOuterCounters[i].drop), metrics.outer[i]);
  for (size_t i = 0; i < io::kInnerCounters.size(); ++i)
    if (!io::kInnerCounters[i].drop.empty()) out.sample(label("reason", io::kInnerCounters[i].drop), metrics.inner[i]);
}

void write_workers(Exposition& out, const device::Metrics& metrics) {
  out.families(
      pipeline::kWorkerCounters,
      [&](size_t i) {
        const std::string_view own = pipeline::kWorkerCounters[i].label;
        for (size_t worker = 0; worker < metrics.workers.size(); ++worker)
          out.sample(fmt::format("worker=\"{}\"{}{}", worker, own.empty() ? "" : ",", own),
                     metrics.workers[worker].counters[i]);
      });
}

void write_ports(Exposition& out, const device::Metrics& metrics) {
  if (metrics.ports.empty()) return;
  out.family("port_datagrams_sent_total", "counter", "Datagrams sent from a port of ours, since it was opened.");
  for (const device::PortMetrics& port : metrics.ports)
    out.sample(label("port", std::to_string(port.port)), port.datagrams_sent);
}

void write_sides(Exposition& out, const device::Metrics& metrics) {
  out.families(
      io::kOuterCounters, [&](size_t i) { out.sample("", metrics.outer[i]); });
  out.families(io::kInnerCounters, [&](size_t i) { out.sample("", metrics.inner[i]); });

  out.family("offload_active", "gauge", "Whether an offload is in use.");
  out.sample(label("offload", "udp_segment"), metrics.outer_state.gso_active ? 1 : 0);
  out.sample(label("offload", "udp_gro"), metrics.outer_state.gro_active ? 1 : 0);
  out.sample(label("offload", "tun_tcp"), metrics.tun_tcp ? 1 : 0);
  out.sample(label("offload", "tun_udp"), metrics.tun_udp ? 1 : 0);
  out.gauge("tun_engine", "The system calls in use on the TUN device: epoll or io_uring.",
            label("name", io::engine_name(metrics.tun_engine)), 1);
  out.gauge("udp_engine", "The system calls in use on the outer sockets: epoll or io_uring.",
            label("name", io::engine_name(metrics.outer_state.engine)), 1);
}

// Both have the same families where both are ports.
void write_devices(Exposition& out, const device::Metrics& metrics) {
  const auto write = [&](const io::DeviceCounts& device, std::string_view side, const io::DeviceCount& count) {
    out.sample(fmt::format("{},{}", label("port", escape_label(device.device)), label("side", side)), count.value);
  };
  const io::DeviceCounts &outer = metrics.outer_device, &inner = metrics.inner_device;
  for (size_t i = 0; i < outer.counts.size(); ++i) {
    const io::DeviceCount& count = outer.counts[i];
    out.family(count.name, count.name.ends_with("_total") ? "counter" : "gauge", count.help);
    write(outer, "outer", count);
    if (i < inner.counts.size()) write(inner, "inner", inner.counts[i]);
  }
}

using Number = std::optional<uint64_t>;

struct PeerFamily {
  const char *name, *type, *help;
  Number (*value)(const device::PeerMetrics& peer);
  bool with_endpoint = false;
};

constexpr std::array kPeerFamilyTable = {
    PeerFamily{"peer_info", "gauge", "Where a peer is.",
               [](const device::PeerMetrics& /*peer*/) -> Number { return 1; }, true},
    PeerFamily{"peer_received_bytes_total", "counter", "Bytes of datagrams from a peer.",
               [](const device::PeerMetrics& peer) -> Number { return peer.received_bytes; }},
    PeerFamily{"peer_sent_bytes_total", "counter", "Bytes of datagrams to a peer.",
               [](const device::PeerMetrics& peer) -> Number { return peer.sent_bytes; }},
    PeerFamily{"peer_expected_messages_total", "counter",
               "Transport messages that a peer has numbered, as far as is known.",
               [](const device::PeerMetrics& peer) -> Number { return peer.expected_messages; }},
    PeerFamily{"peer_received_messages_total", "counter",
               "Those of them that arrived; the others are lost or on their way.",
               [](const device::PeerMetrics& peer) -> Number { return peer.received_messages; }},
    PeerFamily{
        "peer_last_handshake_timestamp_seconds", "gauge", "Unix time of the last handshake with a peer; 0: never.",
        [](const device::PeerMetrics& peer) -> Number { return static_cast<uint64_t>(peer.last_handshake_seconds); }},
    PeerFamily{"peer_keypair_age_seconds", "gauge", "Age of the keypair that is sent with; none without one.",
               [](const device::PeerMetrics& peer) -> Number {
                 if (!peer.keypair_age) return std::nullopt;
                 return static_cast<uint64_t>(peer.keypair_age->count());
               }},
};
static_assert(kPeerFamilyTable.size() == kPeerFamilies);

void write_groups(Exposition& out, const device::Metrics& metrics) {
  if (metrics.groups.empty()) return;
  using Value = uint64_t (*)(const device::MemberMetrics&);
  const auto family = [&](std::string_view name, std::string_view type, std::string_view help, Value value) {
    out.family(name, type, help);
    for (const device::GroupMetrics& group : metrics.groups)
      for (const device::MemberMetrics& member : group.members)
        out.sample(label("group", group.name) + "," + label("peer", member.public_key), value(member));
  };
  family(
      "group_member_alive", "gauge", "Whether flows go to this member of a group.",
      [](const device::MemberMetrics& member) -> uint64_t { return member.alive ? 1 : 0; });
  family(
      "group_member_sent_bytes_total", "counter", "What was sent to this member of a group.",
      [](const device::MemberMetrics& member) { return member.sent_bytes; });
  family("group_member_received_bytes_total", "counter", "What was received from this member of a group.",
         [](const device::MemberMetrics& member) { return member.received_bytes; });
}

}  // namespace

std::string metrics_text(const device::Metrics& metrics) {
  Exposition out(metrics.name);
  out.gauge("build_info", "The version of culvert.", label("version", CULVERT_VERSION), 1);
  out.gauge("engine", "The AEAD engine in use.", label("name", metrics.aead_engine), 1);
  out.gauge("peers", "Configured peers.", "", metrics.peers);
  out.gauge("link_up", "Whether the interface is up.", "", metrics.link_up ? 1 : 0);
  out.gauge("workers", "Threads that carry traffic.", "", metrics.workers_now);
  out.gauge("workers_serving", "Of these, the ones that flows go to now.", "", metrics.workers_serving);
  write_drops(out, metrics);
  write_workers(out, metrics);
  write_sides(out, metrics);
  write_ports(out, metrics);
  write_devices(out, metrics);
  out.families(device::kControlCounters,
               [&](size_t i) { out.sample(device::kControlCounters[i].label, metrics.control[i]); });
  write_groups(out, metrics);
  return out.take();
}

std::string peer_family_text(size_t family, const std::string& device, std::span<const device::PeerMetrics> peers,
                             bool with_head) {
  const PeerFamily& wanted = kPeerFamilyTable.at(family);
  Exposition out(device);
  if (with_head)
    out.family(wanted.name, wanted.type, wanted.help);
  else
    out.resume(wanted.name);
  for (const device::PeerMetrics& peer : peers) {
    const Number value = wanted.value(peer);
    if (!value) continue;
    std::string labels = label("public_key", device::to_base64(peer.public_key));
    if (wanted.with_endpoint)
      labels.append(",").append(label("endpoint", peer.endpoint ? io::to_string(*peer.endpoint) : ""));
    out.sample(labels, *value);
  }
  return out.take();
}

std::string join_metrics(const std::vector<std::string>& texts) {
  constexpr std::string_view kHead = "# HELP ";
  std::vector<std::string_view> order;
  std::map<std::string_view, std::string> families;  // by the two lines of their head
  for (const std::string& text : texts) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(kHead, at + 1), text.size());
      const std::string_view family = std::string_view(text).substr(at, end - at);
      const size_t samples = std::min(family.find('\n', family.find('\n') + 1) + 1, family.size());
      const auto [known, fresh] = families.try_emplace(family.substr(0, samples));
      if (fresh) order.push_back(known->first);
      known->second += family.substr(samples);
      at = end;
    }
  }
  std::string out;
  for (const std::string_view head : order) out.append(head).append(families[head]);
  return out;
}

std::string health_text(const device::Metrics& metrics) {
  return fmt::format("ok\nlink {}\n", metrics.link_up ? "up" : "down");
}

}  // namespace culvert::daemon
