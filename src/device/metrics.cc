// The Prometheus text exposition of the device. Names are stable.

#include <fmt/format.h>

#include <iterator>

#include "crypto/aead_engine.h"
#include "src/device/device.h"

namespace culvert::device {
namespace {

// As the text format wants it within quotes; an interface name may hold both of these.
std::string escape_label(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

// Writes one metric family after the other.
class Exposition {
 public:
  explicit Exposition(const std::string& device) : device_(escape_label(device)) {}

  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    append("# HELP culvert_{} {}\n# TYPE culvert_{} {}\n", name, help, name, type);
  }
  void sample(uint64_t value) { append("culvert_{}{{device=\"{}\"}} {}\n", name_, device_, value); }
  void sample(std::string_view label, std::string_view label_value, uint64_t value) {
    append("culvert_{}{{device=\"{}\",{}=\"{}\"}} {}\n", name_, device_, label, label_value, value);
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

}  // namespace

std::string Device::metrics() const {
  Exposition out(options_.name);
  out.family("engine", "gauge", "The AEAD engine in use.");
  out.sample("name", crypto::engine_name(), 1);
  out.family("peers", "gauge", "Configured peers.");
  out.sample(peers_.size());
  out.family("link_up", "gauge", "Whether the interface is up.");
  out.sample(up_ ? 1 : 0);

  out.family("drops_total", "counter", "Packets and datagrams that went no further, by reason.");
  for (size_t i = 0; i < pipeline::kDropReasons; ++i) {
    uint64_t drops = 0;
    for (const auto& worker : workers_) drops += worker->stats().drops[i].get();
    out.sample("reason", pipeline::kDropReasonNames[i], drops);
  }

  const auto worker_counter = [&](std::string_view name, std::string_view help,
                                  pipeline::Counter pipeline::WorkerStats::*counter) {
    out.family(name, "counter", help);
    for (size_t i = 0; i < workers_.size(); ++i)
      out.sample("worker", std::to_string(i), (workers_[i]->stats().*counter).get());
  };
  using Stats = pipeline::WorkerStats;
  worker_counter("inner_packets_read_total", "Superpackets read from the inner side.", &Stats::inner_packets_read);
  worker_counter("inner_packets_written_total", "Superpackets written to the inner side.",
                 &Stats::inner_packets_written);
  worker_counter("messages_sealed_total", "Transport data messages sealed.", &Stats::messages_sealed);
  worker_counter("messages_opened_total", "Transport data messages opened and authentic.", &Stats::messages_opened);
  worker_counter("keepalives_received_total", "Keepalives received.", &Stats::keepalives_received);
  worker_counter("packets_staged_total", "Superpackets that waited for a handshake.", &Stats::packets_staged);
  worker_counter("unreachable_sent_total", "ICMP unreachable errors to the inner side.", &Stats::unreachable_sent);
  worker_counter("wakeups_total", "Turns of the worker's loop.", &Stats::wakeups);

  io::OuterCounters outer;
  outer.engine = io::chosen_engine(options_.udp_engine);
  bool gso = !workers_.empty(), gro = gso;
  bool inner_tcp = gso, inner_udp = gso;
  for (const auto& worker : workers_) {
    const io::OuterCounters one = worker->outer_counters();
    outer.datagrams_sent += one.datagrams_sent;
    outer.datagrams_received += one.datagrams_received;
    outer.trains_sent += one.trains_sent;
    outer.trains_received += one.trains_received;
    outer.send_errors += one.send_errors;
    outer.receive_errors += one.receive_errors;
    outer.truncated += one.truncated;
    outer.gso_downgrades += one.gso_downgrades;
    if (one.engine != io::Engine::automatic) outer.engine = one.engine;
    gso &= one.gso_active;
    gro &= one.gro_active;
    const io::InnerOffloads inner = worker->inner_offloads();
    inner_tcp &= inner.tcp4 && inner.tcp6;
    inner_udp &= inner.udp4 && inner.udp6;
  }
  const auto total = [&](std::string_view name, std::string_view help, uint64_t value) {
    out.family(name, "counter", help);
    out.sample(value);
  };
  total("datagrams_sent_total", "Transport data datagrams sent since the link came up.", outer.datagrams_sent);
  total("datagrams_received_total", "Datagrams received since the link came up.", outer.datagrams_received);
  total("trains_sent_total", "Sends of one or more datagrams.", outer.trains_sent);
  total("trains_received_total", "Receives of one or more datagrams.", outer.trains_received);
  total("send_errors_total", "Sends that the kernel refused.", outer.send_errors);
  total("receive_errors_total", "Receives that failed.", outer.receive_errors);
  total("truncated_total", "Datagrams longer than a receive buffer.", outer.truncated);
  total("gso_downgrades_total", "Times that UDP_SEGMENT was refused.", outer.gso_downgrades);
  out.family("offload_active", "gauge", "Whether an offload is in use.");
  out.sample("offload", "udp_segment", gso ? 1 : 0);
  out.sample("offload", "udp_gro", gro ? 1 : 0);
  out.sample("offload", "tun_tcp", inner_tcp ? 1 : 0);
  out.sample("offload", "tun_udp", inner_udp ? 1 : 0);

  out.family("tun_engine", "gauge", "The system calls in use on the TUN device: epoll or io_uring.");
  out.sample("name", io::engine_name(options_.tun_engine), 1);
  out.family("udp_engine", "gauge", "The system calls in use on the outer sockets: epoll or io_uring.");
  out.sample("name", io::engine_name(outer.engine), 1);

  out.family("handshake_messages_total", "counter", "Handshake messages, by kind.");
  out.sample("kind", "initiation_sent", stats_.initiations_sent.get());
  out.sample("kind", "initiation_received", stats_.initiations_received.get());
  out.sample("kind", "response_sent", stats_.responses_sent.get());
  out.sample("kind", "response_received", stats_.responses_received.get());
  out.sample("kind", "cookie_reply_sent", stats_.cookie_replies_sent.get());
  out.sample("kind", "cookie_reply_received", stats_.cookie_replies_received.get());
  out.sample("kind", "rejected", stats_.handshakes_rejected.get());
  out.sample("kind", "send_failed", stats_.handshake_send_errors.get());
  total("keepalives_sent_total", "Keepalives sent.", stats_.keepalives_sent.get());
  return out.take();
}

}  // namespace culvert::device
