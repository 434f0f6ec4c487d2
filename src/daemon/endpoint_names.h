// The endpoints of a tunnel that are written as names: when to look them up, and when to believe the answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/endpoint.h"
#include "src/config/config.h"
#include "src/device/device.h"
#include "src/protocol/time.h"

namespace culvert::daemon {

// A name that does not resolve is asked for again, later and later. One that does is asked for again every
// `resolve_every`, or when a handshake has failed for kFailingFor. An answer that is the same as before changes
// nothing, as the peer may have roamed; but while no handshake succeeds its addresses take turns. One of the other
// family always runs against the one whose turn it is.
//
// Thread safety: none; the control thread alone. Knows no clock and no sockets.
class EndpointNames {
 public:
  static constexpr std::chrono::seconds kFirstRetry{1}, kLastRetry{60};
  static constexpr std::chrono::seconds kFailingFor{15};  // until a name is looked up again
  static constexpr std::chrono::seconds kTurn{5};         // of each address, as long as a handshake's retry takes
  static constexpr std::chrono::seconds kLook{1};         // between two looks at peers, while a handshake fails

  struct Question {
    uint64_t id;
    std::string host;
  };
  struct Change {
    device::Key peer;
    io::Endpoint endpoint;
    std::optional<io::Endpoint> rival;  // of the other family
    std::string host;
  };

  // The names of a configuration. One that stays keeps what is known of it.
  void set(const config::Config& config, protocol::Instant now);

  // What to ask now. `id`s are from `next_id` on, which moves.
  std::vector<Question> due(protocol::Instant now, uint64_t& next_id);
  // The name that a question is for, when it is the first time in a row that there is no answer; "" otherwise.
  std::string newly_failing(uint64_t id) const;
  // What an answer changes; no addresses: it is to be asked again.
  std::optional<Change> answered(uint64_t id, const std::vector<io::Address>& addresses, protocol::Instant now);
  // Looks at the peers, and says which endpoints are to have a try. `initiations`: how many the device has made so
  // far; without a new one there is nothing to see, but for those that wait for an answer.
  std::vector<Change> look(protocol::Instant now, uint64_t initiations,
                           const std::function<std::optional<device::PeerContact>(const device::Key&)>& contact);

  // When due() or look() has something to do; nothing: not before there is an answer or an initiation.
  std::optional<protocol::Instant> next() const;
  // Whether each name has been answered once, in whatever way.
  bool all_answered() const { return unanswered_ == 0; }
  bool empty() const { return names_.empty(); }

 private:
  static constexpr protocol::Instant kNever = protocol::Instant::max();

  struct Name {
    config::EndpointName written;
    uint64_t question = 0;  // that is being asked; 0: none
    bool answered = false;
    std::vector<io::Address> addresses;  // sorted as they were given
    size_t turn = 0;                     // which of them has its try
    protocol::Instant ask_at = kNever, asked_at{};
    std::chrono::seconds retry_after = kFirstRetry;
    std::optional<protocol::WallTime> last_handshake;
    std::optional<protocol::Instant> failing_since;
    protocol::Instant last_failing{}, turn_began{};
  };
  using Entry = std::pair<const device::Key, Name>;

  static Change change_to(const device::Key& peer, const Name& name);
  static bool is_failing(Name& name, const device::PeerContact& state, protocol::Instant now);
  void ask_at(Entry& entry, protocol::Instant when);
  std::optional<Change> give_turn(Entry& entry, const io::Address& remote, protocol::Instant now);

  std::map<device::Key, Name> names_;
  std::set<std::pair<protocol::Instant, device::Key>> to_ask_;  // by Name::ask_at, but for kNever
  std::map<uint64_t, device::Key> asked_;                       // by Name::question
  size_t unanswered_ = 0;
  std::optional<std::chrono::seconds> resolve_every_;
  uint64_t seen_initiations_ = 0;
  protocol::Instant looked_at_{}, look_at_ = kNever;
};

}  // namespace culvert::daemon
