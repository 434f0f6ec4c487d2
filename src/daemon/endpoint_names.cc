#include "src/daemon/endpoint_names.h"

#include <algorithm>
#include <utility>

namespace culvert::daemon {
namespace {

constexpr std::chrono::seconds kLookAtFailing{1};
constexpr protocol::Instant kNever = protocol::Instant::max();

bool same_addresses(std::vector<io::Address> a, std::vector<io::Address> b) {
  const auto before = [](const io::Address& x, const io::Address& y) { return x.bytes < y.bytes; };
  std::sort(a.begin(), a.end(), before);
  std::sort(b.begin(), b.end(), before);
  return a == b;
}

}  // namespace

void EndpointNames::set(const config::Config& config, protocol::Instant now) {
  resolve_every_ = config.resolve_every;
  std::map<device::Key, Name> names;
  for (const config::ConfigPeer& peer : config.peers) {
    if (!peer.endpoint_name) continue;
    Name name;
    const auto known = names_.find(peer.public_key);
    if (known != names_.end() && known->second.written == *peer.endpoint_name) {
      name = known->second;
      if (resolve_every_ && name.ask_at == kNever) name.ask_at = now + *resolve_every_;
    } else {
      name.written = *peer.endpoint_name;
      name.ask_at = now;
    }
    names.insert_or_assign(peer.public_key, std::move(name));
  }
  names_ = std::move(names);
}

std::vector<EndpointNames::Question> EndpointNames::due(protocol::Instant now, uint64_t& next_id) {
  std::vector<Question> questions;
  for (auto& [peer, name] : names_) {
    if (name.question != 0 || now < name.ask_at) continue;
    name.question = next_id++;
    name.asked_at = now;
    questions.push_back({name.question, name.written.host});
  }
  return questions;
}

std::string EndpointNames::newly_failing(uint64_t id) const {
  for (const auto& [peer, name] : names_)
    if (name.question == id && name.retry_after == kFirstRetry) return name.written.host;
  return "";
}

EndpointNames::Change EndpointNames::change_to(const device::Key& peer, const Name& name) {
  io::Endpoint endpoint;
  endpoint.remote = name.addresses[name.turn];
  endpoint.port = name.written.port;
  return {peer, endpoint, name.written.host};
}

std::optional<EndpointNames::Change> EndpointNames::answered(uint64_t id, const std::vector<io::Address>& addresses,
                                                             protocol::Instant now) {
  const auto at =
      std::find_if(names_.begin(), names_.end(), [id](const auto& entry) { return entry.second.question == id; });
  if (at == names_.end()) return std::nullopt;
  Name& name = at->second;
  name.question = 0;
  name.answered = true;
  if (addresses.empty()) {
    name.ask_at = now + name.retry_after;
    name.retry_after = std::min(name.retry_after * 2, kLastRetry);
    return std::nullopt;
  }
  name.retry_after = kFirstRetry;
  name.ask_at = resolve_every_ ? now + *resolve_every_ : kNever;
  if (same_addresses(name.addresses, addresses)) return std::nullopt;
  name.addresses = addresses;
  name.turn = 0;
  name.turn_began = now;
  return change_to(at->first, name);
}

std::vector<EndpointNames::Change> EndpointNames::look(
    protocol::Instant now, const std::function<std::optional<device::PeerContact>(const device::Key&)>& contact) {
  std::vector<Change> changes;
  if (names_.empty() || now < next_look_) return changes;
  next_look_ = now + kLook;
  for (auto& [peer, name] : names_) {
    const std::optional<device::PeerContact> state = contact(peer);
    if (!state || name.addresses.empty()) continue;
    if (state->last_handshake != name.last_handshake) {
      name.last_handshake = state->last_handshake;
      name.failing_since.reset();
    } else if (state->initiating) {
      name.last_failing = now;
      if (!name.failing_since) name.failing_since = now;
    } else if (name.failing_since && now - name.last_failing > 2 * kTurn) {
      name.failing_since.reset();
    }
    if (!name.failing_since) continue;
    next_look_ = now + kLookAtFailing;
    if (now - *name.failing_since >= kFailingFor && now - name.asked_at >= kFailingFor) name.ask_at = now;
    const bool roamed = !std::any_of(name.addresses.begin(), name.addresses.end(),
                                     [&](const io::Address& each) { return each == state->endpoint.remote; });
    const auto patience = roamed ? kFailingFor : kTurn;
    if (now - *name.failing_since < patience || now - name.turn_began < kTurn ||
        (name.addresses.size() == 1 && !roamed))
      continue;
    name.turn = (name.turn + 1) % name.addresses.size();
    name.turn_began = now;
    changes.push_back(change_to(peer, name));
  }
  return changes;
}

std::optional<protocol::Instant> EndpointNames::next() const {
  if (names_.empty()) return std::nullopt;
  protocol::Instant soonest = next_look_;
  for (const auto& [peer, name] : names_)
    if (name.question == 0) soonest = std::min(soonest, name.ask_at);
  return soonest;
}

bool EndpointNames::all_answered() const {
  return std::all_of(
      names_.begin(), names_.end(), [](const auto& entry) { return entry.second.answered; });
}

}  // namespace culvert::daemon
