// The WireGuard device: peers, keys, sockets and workers, all held by the control thread. It is what UAPI
// configures, what timers and handshakes act on, and what publishes the workers' view of it all.
//
// device.cc           life cycle: workers, link and sockets
// configuration.cc    configuration in (Configurable) and state out
// members.cc          members of groups: who is alive, and what follows from it
// peers.cc            how a peer starts, stops and leaves
// schedule.cc         what one turn does, and at most how much of it
// handshake.cc        handshake messages in and out
// staged_packets.cc   how a first packet waits for its handshake; keepalives
// sources.cc          sticky source addresses
// published_state.cc  what workers can reach, and who frees it
// metrics.cc          values for metrics
// worker_pool.*       the workers, and how their number changes
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/engine.h"
#include "io/listen_wide.h"
#include "io/outer_device.h"
#include "io/result.h"
#include "io/route_probe.h"
#include "io/udp_socket_group.h"
#include "io/wakeup.h"
#include "src/device/configurable.h"
#include "src/device/groups.h"
#include "src/device/liveness.h"
#include "src/device/metrics.h"
#include "src/device/worker_pool.h"
#include "src/pipeline/clock.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/stats.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/cookie.h"
#include "src/protocol/index_table.h"
#include "src/protocol/peer.h"
#include "src/protocol/rate_limiter.h"

namespace culvert::device {

struct DeviceOptions {
  std::string name;
  bool gso = true;                                                     // UDP_SEGMENT
  bool gro = true;                                                     // UDP_GRO
  io::SourcePorts source_ports;                                        // until set_source_ports()
  io::Engine udp_engine = io::Engine::automatic;                       // wanted of the outer sockets
  io::Engine tun_engine = io::Engine::epoll;                           // in use on the TUN device
  std::optional<io::WideRange> listen{};                               // beside the listen port
  io::OuterDevice* outer = nullptr;                                    // instead of sockets; outlives the device
  pipeline::BootClockReader worker_clock = pipeline::read_boot_clock;  // begin_turn() says ours
};

// How it stands with one peer.
struct PeerContact {
  io::Endpoint endpoint;  // may be invalid: none
  std::optional<protocol::WallTime> last_handshake;
  bool initiating = false;  // an initiation of ours waits for its answer
};

// Thread safety: none; the control thread alone. `now` comes in by begin_turn(), once each turn of the loop.
//
// Invariants: 1. what workers can reach lives until reclaim() has waited for them; 2. sockets exist only
// while the link is up; 3. each peer's deadline in deadlines_ is its timers' next_deadline(),
// or when it was woken.
class Device final : public Configurable, public Measured {
 public:
  // `control` is what the workers notify; it outlives the device.
  Device(DeviceOptions options, const io::Wakeup& control);
  ~Device() override;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Once, before the first turn. `inner` outlives the device. Errors: see WorkerPool::start().
  io::Status start_workers(io::InnerDevice& inner, const WorkerPlan& plan = {});

  // Every turn of the control loop starts with the first and ends with the second, which wakes workers for what they
  // are to send, and frees what no worker can reach any more.
  void begin_turn(protocol::Instant now, protocol::WallTime wall);
  void reclaim();

  // The link went up or down: sockets are opened or closed, peers started or stopped. Error: the listen port or the
  // fwmark is refused (in the log too); the link then counts as down, and advance_timers() tries again after 1, 2, 4
  // and then every 8 s.
  io::Status set_link_up(bool up);
  bool up() const { return up_; }
  void set_mtu(uint32_t mtu_bytes);
  // Routes or addresses changed: the sticky source is forgotten of each peer to which the kernel sends another way than
  // before, but not where nothing has changed for the peer: what was called answers. The work is advance_timers()'s.
  void recheck_sources();

  // What the workers passed on. Does a bounded amount of work; true when there is more.
  [[nodiscard]] bool attend();
  // Does what is due, as far as one turn goes: next_deadline() is in the past when there is more.
  void advance_timers();
  // When advance_timers() has to be called next; nothing: not before something happens.
  std::optional<protocol::Instant> next_deadline() const;

  // Whether the inner side was deleted.
  bool inner_gone() const;

  DeviceState state() const;
  // How many operations have ended so far: whoever looks at the state again need not while this stays.
  uint64_t operations() const { return operations_; }
  uint32_t fwmark() const { return fwmark_; }
  // How many initiations were made so far: whoever watches for handshakes that fail need not look while this stays.
  uint64_t initiations() const { return initiations_; }
  // How the peer can be reached; none without such a peer.
  std::optional<PeerContact> contact(const Key& public_key) const;
  // Tries a peer at `endpoint`, with something sent at once if it has a persistent keepalive or packets wait. While
  // there is a `rival`, each initiation goes there too: the peer is where the first answer comes from. set_endpoint()
  // and any good handshake message end the race. A peer that is not there is ignored.
  void try_endpoint(const Key& public_key, const io::Endpoint& endpoint, const std::optional<io::Endpoint>& rival);

  // Measured.
  const std::string& name() const override { return options_.name; }
  Metrics metrics() const override;
  PeerSlice peer_metrics(uint64_t from, size_t most) const override;

  // Configurable; see src/device/configurable.h.
  int set_private_key(const SecretKey& private_key) override;
  int set_listen_port(uint16_t port) override;
  int set_source_ports(const io::SourcePorts& ports) override;
  std::string port_refusal() const override { return port_refusal_; }
  int set_fwmark(uint32_t mark) override;
  int set_workers(uint32_t count) override;
  int remove_all_peers() override;
  int select_peer(const Key& public_key, PeerOrigin& origin) override;
  int remove_peer(const Key& public_key) override;
  int set_preshared_key(const Key& public_key, const SecretKey& preshared_key) override;
  int set_endpoint(const Key& public_key, const io::Endpoint& endpoint) override;
  int set_persistent_keepalive(const Key& public_key, uint16_t seconds) override;
  int set_peer_source_ports(const Key& public_key, uint16_t count) override;
  int set_group(const Key& public_key, const std::string& name) override;
  int clear_allowed_ips(const Key& public_key) override;
  int add_allowed_ip(const Key& public_key, const Prefix& prefix) override;
  int remove_allowed_ip(const Key& public_key, const Prefix& prefix) override;
  void finish_peer(const Key& public_key) override;
  void end_of_operation() override;

 private:
  // The way to a remote address when the kernel was asked last.
  struct KnownRoute {
    io::Address remote;
    io::RouteChoice choice;
  };

  // The source that a peer was answered from before its route changed.
  struct LeftSource {
    io::Address remote, source;
    protocol::Instant until;  // what comes to it meanwhile was on its way
    bool told = false;        // the peer was sent something from the new one
  };

  // What a member of a group has beside other peers.
  struct Membership {
    Liveness liveness;
    std::optional<protocol::Instant> next_look;
  };

  // A peer with both of its halves, and what only the device knows of it. What workers write is aligned to cache
  // lines, hence the padding.
  struct DevicePeer {  // NOLINT(clang-analyzer-optin.performance.Padding)
    DevicePeer(uint64_t id, uint32_t number, const protocol::PublicKey& public_key, uint8_t home_slot)
        : peer(public_key, &path, home_slot), path(id, number, peer.keypairs(), peer.marks()) {}

    protocol::Peer peer;
    pipeline::PeerPath path;
    uint16_t keepalive_seconds = 0;
    uint16_t source_ports = 0;                     // 0: as many as the device has
    bool endpoint_configured = false;              // it can be reached without having called
    bool keepalive_promised = false;               // by set_persistent_keepalive(), for finish_peer()
    bool sign_of_life_due = false;                 // send what is staged, or a keepalive, in its turn
    bool knows_identity = false;                   // see know_identity()
    std::optional<protocol::Instant> awake_since;  // advance_timers() shall look at it, whatever its timers say
    std::optional<protocol::Instant> deadline;     // its entry in deadlines_
    std::optional<KnownRoute> known_route;         // of a peer with a sticky source
    std::optional<LeftSource> left_source;
    protocol::ReplayWindow::Reception reception_before;  // on keypairs that are gone
    std::unique_ptr<Membership> membership;              // null: in no group
    std::unique_ptr<const io::Endpoint> rival;           // see try_endpoint(); null: none
  };

  // A walk over all peers in slices, a slice each turn; a request in the middle of one is another walk after it.
  struct PeerWalk {
    std::optional<uint64_t> next_id;
    bool again = false;

    bool wanted() const { return next_id.has_value(); }
    void request() {
      again = wanted();
      if (!again) next_id = 0;
    }
  };

  // Life cycle.
  io::Status bring_up();
  void retry_bind_later(const io::Error& error);
  io::Status open_sockets(uint16_t port);
  io::Status open_ports(uint16_t port);
  io::UdpOptions udp_options(uint16_t port) const;
  int bind_anew(uint16_t port);
  io::Status try_ports(uint16_t port) const;
  void spread(DevicePeer& peer);
  void adopt_sockets(std::unique_ptr<io::UdpSocketGroup> sockets);
  void close_sockets();
  std::span<const uint16_t> local_ports() const;
  void listen_wide();
  void start_peer(DevicePeer& peer);
  void stop_peer(DevicePeer& peer);
  void drop_staged(std::vector<pipeline::PeerPath*>& paths, pipeline::DropReason reason);  // empties the list
  std::optional<uint32_t> take_peer_number();
  void give_back_peer_number(uint32_t number);
  uint8_t take_home_slot();
  void forget_identity(DevicePeer& peer);
  void know_identity(DevicePeer& peer);
  void detach_peer(const protocol::PublicKey& public_key);
  void free_detached_peers();
  void publish_allowed_ips();
  void publish_identity();
  void ensure_free_index();
  void retire(protocol::RetiredKeypairs retired);
  void forget_sources();
  void recheck_some_sources();
  std::optional<protocol::Instant> next_source_check() const;
  size_t recheck_source(DevicePeer& peer);  // what that cost
  void learn_route(DevicePeer& peer, const io::Endpoint& endpoint);
  void attend_roaming(DevicePeer& peer);
  void follow(DevicePeer& peer, const pipeline::HandshakeDatagram& datagram);
  static bool has_staged(DevicePeer& peer);
  void take_over_from(const pipeline::Worker& leaving);
  static std::string log_name(const DevicePeer& peer);
  DevicePeer* find_peer(const Key& public_key);
  DevicePeer* find_peer(protocol::PeerHandle handle);
  // Goes on with the walk until `budget` is spent, by what `visit` says that each visit cost. What is left of it.
  size_t walk_peers(PeerWalk& walk, size_t budget, const std::function<size_t(DevicePeer&)>& visit);

  // Members of groups.
  int join_group(DevicePeer& peer, const std::string& name);
  void look_at_member(DevicePeer& peer);
  void show_member(DevicePeer& peer);
  void wake_others(const DevicePeer& peer);
  void send_by_others(const DevicePeer& peer);
  bool may_ask();
  void tell_groups_of_workers();
  std::vector<GroupMetrics> group_metrics() const;

  // Handshakes and timers.
  bool attend_peers();
  bool attend_handshakes();
  size_t take_handshakes(size_t i, size_t most);
  void excuse_waiting_handshakes();
  void attend_peer(DevicePeer& peer);
  void wake(DevicePeer& peer);
  bool has_room_to_send() const;
  void receive(const pipeline::HandshakeDatagram& datagram);
  bool passes_cookie_check(const pipeline::HandshakeDatagram& datagram, uint32_t sender_index);
  void receive_initiation(const pipeline::HandshakeDatagram& datagram);
  void receive_response(const pipeline::HandshakeDatagram& datagram);
  void receive_cookie_reply(const pipeline::HandshakeDatagram& datagram);
  void send_initiation(DevicePeer& peer);
  bool send(std::span<const uint8_t> message, pipeline::ControlDatagram datagram);
  bool send_to_peer(DevicePeer& peer, std::span<const uint8_t> message, uint8_t traffic_class);
  void flush_or_keepalive(DevicePeer& peer);
  void flush(DevicePeer& peer);
  void send_keepalive(DevicePeer& peer);
  void advance(DevicePeer& peer);
  void reschedule(DevicePeer& peer);
  static protocol::Duration draw_jitter();
  void rejected(const pipeline::HandshakeDatagram& datagram, const char* why);

  // Constant after construction.
  const DeviceOptions options_;
  const io::Wakeup& control_;
  const protocol::IndexRandom random_index_;

  protocol::Instant now_{};
  protocol::WallTime wall_{};

  // Configuration.
  protocol::StaticIdentity identity_;
  uint16_t listen_port_ = 0;
  io::SourcePorts source_ports_;
  std::string port_refusal_;
  uint32_t fwmark_ = 0;
  uint32_t mtu_ = 0;
  bool link_up_ = false;
  uint64_t operations_ = 0;
  bool up_ = false;  // the link is, and the sockets are open

  // While the link is up and the host refuses the sockets.
  int refused_by_ = 0;  // errno; 0: not refused
  protocol::Duration bind_retry_after_{0};
  std::optional<protocol::Instant> bind_retry_at_;

  // Peers in order of creation, and by key.
  std::map<uint64_t, std::unique_ptr<DevicePeer>> peers_;
  std::map<protocol::PublicKey, DevicePeer*> by_key_;
  std::set<std::pair<protocol::Instant, DevicePeer*>> deadlines_;
  uint64_t next_peer_id_ = 1;
  std::vector<uint32_t> free_peer_numbers_;  // below next_peer_number_
  uint32_t next_peer_number_ = 0;
  std::array<size_t, protocol::kHomeSlots> peers_at_home_{};  // how many live in each home slot

  // What this turn has done and the next ones have to.
  uint64_t initiations_ = 0;  // also of the turns before
  size_t initiations_in_turn_ = 0;
  std::vector<pipeline::PeerPath*> given_up_;  // their staged packets go at the end of the turn
  protocol::Instant asks_since_{};             // and how many silent members were asked since: see may_ask()
  size_t asks_ = 0;
  PeerWalk overflow_walk_;                  // to every peer, as a ring of attention overflowed
  std::vector<size_t> excused_handshakes_;  // of each worker's that wait: see excuse_waiting_handshakes()

  // Sticky sources.
  io::RouteProbe route_probe_;
  bool sources_changed_ = false;  // and no walk has begun since
  PeerWalk source_walk_;
  protocol::Instant source_walk_began_{};
  protocol::Instant next_source_walk_{};

  // Published to the workers, or waiting to be.
  pipeline::Published published_;
  Groups groups_;                                             // and the allowed IPs, ours to change
  std::map<protocol::PublicKey, std::string> groups_before_;  // of peers that this operation has removed
  std::unique_ptr<const protocol::AllowedIps> published_allowed_ips_;
  std::unique_ptr<protocol::IndexTable> index_table_;
  std::unique_ptr<const protocol::Mac1Key> mac1_key_;

  // Unpublished, and freed by reclaim().
  std::vector<std::unique_ptr<protocol::Keypair>> retired_keypairs_;
  std::vector<std::unique_ptr<const protocol::AllowedIps>> retired_allowed_ips_;
  std::vector<std::unique_ptr<const pipeline::PeerGroup>> retired_groups_;
  std::vector<std::unique_ptr<protocol::IndexTable>> retired_index_tables_;
  std::vector<std::unique_ptr<const protocol::Mac1Key>> retired_mac1_keys_;
  std::vector<std::unique_ptr<DevicePeer>> detached_peers_;

  std::optional<protocol::CookieChecker> cookie_checker_;  // none without a private key
  protocol::RateLimiter rate_limiter_;
  protocol::Instant under_load_until_{};

  ControlStats stats_;
  WorkerPool workers_;
  std::unique_ptr<io::UdpSocketGroup> sockets_;      // members are used by workers until adopt_sockets(nullptr)
  std::unique_ptr<io::WideListener> wide_listener_;  // of sockets_
  std::vector<uint16_t> device_ports_;               // of DeviceOptions::outer, while it listens
};

}  // namespace culvert::device
