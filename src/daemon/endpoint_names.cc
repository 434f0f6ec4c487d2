#include "src/daemon/endpoint_names.h"

#include <algorithm>

namespace culvert::daemon {
namespace {

bool same_addresses(std::vector<io::Address> a, std::vector<io::Address> b) {
  const auto before = [](const io::Address& x, const io::Address& y) { return x.bytes < y.bytes; };
  std::sort(a.begin(), a.end(), before);
  std::sort(b.begin(), b.end(), before);
  return a == b;
}

}  // namespace

void EndpointNames::set(const config::Config& config, protocol::Instant now) {
  resolve_every_ = config.resolve_every;
  std::map<device::Key, Name> before;
  before.swap(names_);
  to_ask_.clear();
  asked_.clear();
  unanswered_ = 0;
  for (const config::ConfigPeer& peer : config.peers) {
    if (!peer.endpoint_name) continue;
    Name name;
    const auto known = before.find(peer.public_key);
    if (known != before.end() && known->second.written == *peer.endpoint_name) {
      name = known->second;
      if (resolve_every_ && name.question == 0) name.ask_at = std::min(name.ask_at, now + *resolve_every_);
    } else {
      name.written = *peer.endpoint_name;
      name.ask_at = now;
    }
    names_.insert_or_assign(peer.public_key, std::move(name));
  }
  for (const auto& [peer, name] : names_) {
    if (name.ask_at != kNever) to_ask_.emplace(name.ask_at, peer);
    if (name.question != 0) asked_.emplace(name.question, peer);
    if (!name.answered) ++unanswered_;
  }
}

void EndpointNames::ask_at(Entry& entry, protocol::Instant when) {
  auto& [peer, name] = entry;
  to_ask_.erase({name.ask_at, peer});
  name.ask_at = when;
  if (when != kNever) to_ask_.emplace(when, peer);
}

std::vector<EndpointNames::Question> EndpointNames::due(protocol::Instant now, uint64_t& next_id) {
  std::vector<Question> questions;
  while (!to_ask_.empty() && to_ask_.begin()->first <= now) {
    Entry& entry = *names_.find(to_ask_.begin()->second);
    ask_at(entry, kNever);
    auto& [peer, name] = entry;
    name.question = next_id++;
    name.asked_at = now;
    asked_.emplace(name.question, peer);
    questions.push_back({name.question, name.written.host});
  }
  return questions;
}

std::string EndpointNames::newly_failing(uint64_t id) const {
  const auto at = asked_.find(id);
  if (at == asked_.end()) return "";
  const Name& name = names_.at(at->second);
  return name.retry_after == kFirstRetry ? name.written.host : "";
}

EndpointNames::Change EndpointNames::change_to(const device::Key& peer, const Name& name) {
  const auto endpoint_at = [&name](const io::Address& address) {
    io::Endpoint endpoint;
    endpoint.remote = address;
    endpoint.port = name.written.port;
    return endpoint;
  };
  const io::Address& first = name.addresses[name.turn];
  Change change{peer, endpoint_at(first), std::nullopt, name.written.host};
  for (size_t i = 1; i < name.addresses.size() && !change.rival; ++i)
    if (const io::Address& other = name.addresses[(name.turn + i) % name.addresses.size()];
        other.family != first.family)
      change.rival = endpoint_at(other);
  return change;
}

std::optional<EndpointNames::Change> EndpointNames::answered(uint64_t id, const std::vector<io::Address>& addresses,
                                                             protocol::Instant now) {
  const auto at = asked_.find(id);
  if (at == asked_.end()) return std::nullopt;
  Entry& entry = *names_.find(at->second);
  asked_.erase(at);
  Name& name = entry.second;
  name.question = 0;
  if (!std::exchange(name.answered, true)) --unanswered_;
  if (addresses.empty()) {
    ask_at(entry, now + name.retry_after);
    name.retry_after = std::min(name.retry_after * 2, kLastRetry);
    return std::nullopt;
  }
  name.retry_after = kFirstRetry;
  ask_at(entry, resolve_every_ ? now + *resolve_every_ : kNever);
  if (same_addresses(name.addresses, addresses)) return std::nullopt;
  const auto in_use = name.addresses.empty() ? addresses.end()
                                             : std::find(addresses.begin(), addresses.end(), name.addresses[name.turn]);
  name.addresses = addresses;
  name.turn = in_use == addresses.end() ? 0 : static_cast<size_t>(in_use - addresses.begin());
  // Some servers name a few of their addresses, others each time: a session that works stays where it is.
  if (in_use != addresses.end() && !name.failing_since) return std::nullopt;
  name.turn_began = now;
  return change_to(entry.first, name);
}

bool EndpointNames::is_failing(Name& name, const device::PeerContact& state, protocol::Instant now) {
  if (state.last_handshake != name.last_handshake) {
    name.last_handshake = state.last_handshake;
    name.failing_since.reset();
  }
  if (state.initiating) {
    name.last_failing = now;
    if (!name.failing_since) name.failing_since = now;
  } else if (name.failing_since && now - name.last_failing > 2 * kTurn) {
    name.failing_since.reset();
  }
  return name.failing_since.has_value();
}

// Of a peer that fails, and was last at `remote`: the next address, once the one before has had its time.
std::optional<EndpointNames::Change> EndpointNames::give_turn(Entry& entry, const io::Address& remote,
                                                              protocol::Instant now) {
  auto& [peer, name] = entry;
  const bool roamed = std::find(name.addresses.begin(), name.addresses.end(), remote) == name.addresses.end();
  const auto patience = roamed ? kFailingFor : kTurn;
  if (now - *name.failing_since < patience || now - name.turn_began < kTurn || (name.addresses.size() == 1 && !roamed))
    return std::nullopt;
  name.turn = (name.turn + 1) % name.addresses.size();
  name.turn_began = now;
  return change_to(peer, name);
}

std::vector<EndpointNames::Change> EndpointNames::look(
    protocol::Instant now, uint64_t initiations,
    const std::function<std::optional<device::PeerContact>(const device::Key&)>& contact) {
  std::vector<Change> changes;
  if (names_.empty()) return changes;
  if (std::exchange(seen_initiations_, initiations) != initiations)
    look_at_ = std::min(look_at_, std::max(now, looked_at_ + kLook));
  if (now < look_at_) return changes;
  looked_at_ = now;
  look_at_ = kNever;
  for (Entry& entry : names_) {
    auto& [peer, name] = entry;
    const std::optional<device::PeerContact> state = contact(peer);
    if (!state || name.addresses.empty() || !is_failing(name, *state, now)) continue;
    look_at_ = now + kLook;
    if (now - *name.failing_since >= kFailingFor && now - name.asked_at >= kFailingFor && name.question == 0)
      ask_at(entry, now);
    if (auto change = give_turn(entry, state->endpoint.remote, now)) changes.push_back(std::move(*change));
  }
  return changes;
}

std::optional<protocol::Instant> EndpointNames::next() const {
  const protocol::Instant soonest = to_ask_.empty() ? look_at_ : std::min(look_at_, to_ask_.begin()->first);
  return names_.empty() || soonest == kNever ? std::nullopt : std::optional(soonest);
}

}  // namespace culvert::daemon
