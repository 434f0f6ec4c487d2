#include "src/uapi/operation.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace culvert::uapi {
namespace {

// Makes the changes of one operation, one after the other.
class Applier {
 public:
  explicit Applier(device::Configurable& target) : target_(target) {}

  // Nothing when it was made, or is of no consequence.
  std::optional<Refusal> apply(const Change& change);
  void finish_peer() {
    if (section_ == Section::peer) target_.finish_peer(peer_);
  }

 private:
  enum class Section : uint8_t { device, peer, ignored_peer };

  int apply_to_device(const Change& change);
  int apply_to_peer(const Change& change);
  int select_peer(const device::Key& public_key);
  int remove_peer();

  device::Configurable& target_;
  Section section_ = Section::device;
  device::Key peer_{};
  bool peer_created_ = false;
};

template <typename Value>
const Value& value_of(const Change& change) {
  return std::get<Value>(change.value);
}

// `port_refusal` names the port.
Refusal refused(const Change& change, int number, const std::string& port_refusal) {
  const char* const why = std::strerror(number);
  switch (change.field) {
    case Field::listen_port: {
      const uint32_t port = value_of<uint32_t>(change);
      if (!port_refusal.empty())
        return {0, UapiError::port_in_use, fmt::format("listen_port={}: {}", port, port_refusal)};
      const std::string mend = number == EADDRINUSE
                                   ? fmt::format(
                                         "listen_port={} is taken by another program (end it, or choose another "
                                         "port)",
                                         port)
                                   : fmt::format("listen_port={} cannot be bound", port);
      return {0, UapiError::port_in_use, fmt::format("{}: {}", mend, why)};
    }
    case Field::source_ports:
      return {0, UapiError::port_in_use,
              fmt::format("source_ports={}: {}", io::to_string(value_of<io::SourcePorts>(change)),
                          port_refusal.empty() ? std::string("they cannot be bound: ") + why : port_refusal)};
    case Field::fwmark:
      return {0, UapiError::port_in_use,
              fmt::format("fwmark={} is refused by the kernel (it takes CAP_NET_ADMIN): {}", value_of<uint32_t>(change),
                          why)};
    case Field::workers:
      return {0, UapiError::invalid,
              fmt::format("workers={} cannot be here (the log says why): {}", value_of<uint32_t>(change), why)};
    case Field::group:
      return {0, UapiError::invalid,
              fmt::format("group={} has {} members already; give this peer another group, or take one out by 'group='",
                          value_of<std::string>(change), device::kMaxGroupMembers)};
    case Field::public_key:
      return {0, UapiError::invalid,
              fmt::format("peer {} cannot be created: {}", device::short_name(value_of<device::Key>(change)), why)};
    default:
      return {0, UapiError::unknown, fmt::format("the device refuses the line: {}", why)};
  }
}

std::optional<Refusal> Applier::apply(const Change& change) {
  int number = 0;
  if (change.field == Field::public_key) {
    finish_peer();
    number = select_peer(value_of<device::Key>(change));
  } else if (section_ == Section::device) {
    number = apply_to_device(change);
  } else if (section_ == Section::peer) {
    number = apply_to_peer(change);
  }
  if (number == 0) return std::nullopt;
  return refused(change, number, target_.port_refusal());
}

int Applier::apply_to_device(const Change& change) {
  switch (change.field) {
    case Field::private_key:
      return target_.set_private_key(value_of<device::SecretKey>(change));
    case Field::listen_port:
      return target_.set_listen_port(static_cast<uint16_t>(value_of<uint32_t>(change)));
    case Field::source_ports:
      return target_.set_source_ports(value_of<io::SourcePorts>(change));
    case Field::fwmark:
      return target_.set_fwmark(value_of<uint32_t>(change));
    case Field::workers:
      return target_.set_workers(value_of<uint32_t>(change));
    case Field::replace_peers:
      return target_.remove_all_peers();
    default:
      return 0;
  }
}

int Applier::apply_to_peer(const Change& change) {
  switch (change.field) {
    case Field::update_only:
      return peer_created_ ? remove_peer() : 0;
    case Field::remove:
      return remove_peer();
    case Field::replace_allowed_ips:
      return target_.clear_allowed_ips(peer_);
    case Field::preshared_key:
      return target_.set_preshared_key(peer_, value_of<device::SecretKey>(change));
    case Field::endpoint:
      return target_.set_endpoint(peer_, value_of<io::Endpoint>(change));
    case Field::persistent_keepalive_interval:
      return target_.set_persistent_keepalive(peer_, static_cast<uint16_t>(value_of<uint32_t>(change)));
    case Field::peer_source_ports:
      return target_.set_peer_source_ports(peer_, static_cast<uint16_t>(value_of<uint32_t>(change)));
    case Field::group:
      return target_.set_group(peer_, value_of<std::string>(change));
    case Field::add_allowed_ip:
      return target_.add_allowed_ip(peer_, value_of<device::Prefix>(change));
    case Field::remove_allowed_ip:
      return target_.remove_allowed_ip(peer_, value_of<device::Prefix>(change));
    default:
      return 0;
  }
}

int Applier::select_peer(const device::Key& public_key) {
  device::PeerOrigin origin = device::PeerOrigin::existing;
  section_ = Section::ignored_peer;
  if (const int number = target_.select_peer(public_key, origin); number != 0) return number;
  peer_ = public_key;
  peer_created_ = origin == device::PeerOrigin::created;
  if (origin != device::PeerOrigin::own_key) section_ = Section::peer;
  return 0;
}

// What follows about the peer is ignored.
int Applier::remove_peer() {
  section_ = Section::ignored_peer;
  return target_.remove_peer(peer_);
}

}  // namespace

bool Operation::add(Change change) {
  if (changes_.size() >= kMaxUapiLines) return false;
  changes_.push_back(std::move(change));
  return true;
}

std::optional<Refusal> Operation::apply(device::Configurable& target, bool complete) const {
  Applier applier(target);
  std::optional<Refusal> refusal;
  size_t line = 0;
  for (auto at = changes_.begin(); at != changes_.end() && !refusal; ++at) {
    ++line;
    refusal = applier.apply(*at);
    if (refusal) refusal->line = line;
  }
  if (complete && !refusal) applier.finish_peer();
  target.end_of_operation();
  return refusal;
}

}  // namespace culvert::uapi
