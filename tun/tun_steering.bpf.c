// Chooses the queue of a TUN device for a packet that leaves through it: tun/tun_steering.h says by what.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "io/bpf/steering_table.bpf.h"
#include "tun/lane_layout.h"

enum { HOP_BY_HOP = 0, ICMP = 1, TCP = 6, UDP = 17, DCCP = 33, ROUTING = 43, FRAGMENT = 44, AH = 51, ICMPV6 = 58,
       DESTINATION = 60, SCTP = 132, MOBILITY = 135, UDPLITE = 136, HOST_IDENTITY = 139, SHIM6 = 140 };
enum { MOST_EXTENSION_HEADERS = 8 };

// A flow is sparse while it sends less than this, bursts apart: 2 MB/s and 16 KiB. It is so again once it was silent for
// a while, and the worker is done with all that it had queued.
enum { BYTE_LEAKS_EVERY = 1 << 9, MOST_BYTES = 16384, SILENCE = 20000000, FLOWS = 8192 };

const volatile struct tun_settings settings = {};

// Of the flows that hash here together: they are sparse or not together, so that each stays in order.
struct flow {
  __u64 last;   // packet
  __u32 bytes;  // that came faster than they leak out
  __u32 is_bulk;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FLOWS);
  __type(key, __u32);
  __type(value, struct flow);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, SLOTS);
  __type(key, __u32);
  __type(value, struct lane);
} lanes SEC(".maps");

struct ipv4 {
  __u8 version_and_length, tos;
  __be16 total_length, id, fragment;
  __u8 ttl, protocol;
  __be16 checksum;
  __be32 addresses[2];
};
struct ipv6 {
  __be32 version_class_label;
  __be16 payload_length;
  __u8 next_header, hop_limit;
  __be32 addresses[8];
};

static __always_inline __u64 mix(__u64 hash, __u64 value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 32;
}

static __always_inline int has_ports(__u8 protocol) {
  return protocol == TCP || protocol == UDP || protocol == SCTP || protocol == DCCP || protocol == UDPLITE;
}

static __always_inline int is_extension(__u8 protocol) {
  return protocol == HOP_BY_HOP || protocol == DESTINATION || protocol == ROUTING || protocol == AH ||
         protocol == MOBILITY || protocol == HOST_IDENTITY || protocol == SHIM6;
}

// What tells the flow from others between the same addresses: its ports, or the id of its pings, else `otherwise`.
static __always_inline __u64 discriminator(struct __sk_buff *packet, __u32 offset, __u8 protocol, __u32 otherwise) {
  __u32 ports = otherwise;
  __u8 echo[8];
  if (has_ports(protocol)) {
    bpf_skb_load_bytes(packet, offset, &ports, sizeof ports);
  } else if ((protocol == ICMP || protocol == ICMPV6) && !bpf_skb_load_bytes(packet, offset, echo, sizeof echo)) {
    __u8 type = echo[0];
    if (protocol == ICMP ? type == 8 || type == 0 : type == 128 || type == 129)
      ports = (__u32)echo[4] << 8 | echo[5];
  }
  return (__u64)protocol << 32 | ports;
}

static __always_inline __u64 flow_of_ipv4(struct __sk_buff *packet) {
  struct ipv4 ip;
  if (bpf_skb_load_bytes(packet, 0, &ip, sizeof ip))
    return 0;
  __u64 hash = mix(settings.seed[0], (__u64)ip.addresses[0] << 32 | ip.addresses[1]);
  if (ip.fragment & bpf_htons(0x3fff))
    return hash;
  return mix(hash, discriminator(packet, (ip.version_and_length & 15) * 4, ip.protocol, 0));
}

static __always_inline __u64 flow_of_ipv6(struct __sk_buff *packet) {
  struct ipv6 ip;
  if (bpf_skb_load_bytes(packet, 0, &ip, sizeof ip))
    return 0;
  __u64 hash = settings.seed[0];
#pragma unroll
  for (int i = 0; i < 8; i += 2)
    hash = mix(hash, (__u64)ip.addresses[i] << 32 | ip.addresses[i + 1]);
  __u32 offset = sizeof ip;
  __u8 protocol = ip.next_header;
#pragma unroll
  for (int i = 0; i < MOST_EXTENSION_HEADERS; ++i) {
    __u8 next[2];
    if (!is_extension(protocol) || bpf_skb_load_bytes(packet, offset, next, sizeof next))
      break;
    offset += protocol == AH ? (next[1] + 2) * 4 : (next[1] + 1) * 8;
    protocol = next[0];
  }
  if (protocol == FRAGMENT)
    return hash;
  return mix(hash, discriminator(packet, offset, protocol, ip.version_class_label & bpf_htonl(0xfffff)));
}

// Whether a packet goes to the queue of bulk flows. The worker reads that of sparse flows first, so a flow may always go
// from there to here, if the worker is told; and back once nothing of it is here any more.
static __always_inline int is_bulk(__u64 hash, __u32 length, const struct lane *lane, __u64 now, __u32 *moved) {
  __u32 index = hash % FLOWS;
  struct flow *flow = bpf_map_lookup_elem(&flows, &index);
  if (!flow)
    return 1;
  __u64 last = flow->last, leaked = (now - last) / BYTE_LEAKS_EVERY;
  __u32 bytes = leaked < flow->bytes ? flow->bytes - leaked : 0;
  bytes += length;
  flow->last = now;
  flow->bytes = bytes < 2 * MOST_BYTES ? bytes : 2 * MOST_BYTES;
  if (bytes > MOST_BYTES) {
    *moved = !flow->is_bulk;
    flow->is_bulk = 1;
  } else if (flow->is_bulk && now - last > SILENCE && lane->done >= last) {
    flow->is_bulk = 0;
  }
  return flow->is_bulk;
}

// Two queues a worker: that of its bulk flows, and behind it that of its sparse ones.
static __always_inline __u32 choose_lane(struct __sk_buff *packet, __u64 hash, __u32 worker) {
  struct lane *lane = worker < settings.lanes ? bpf_map_lookup_elem(&lanes, &worker) : 0;
  if (!lane)
    return 2 * worker;
  __u64 now = bpf_ktime_get_ns();
  __u32 moved = 0;
  if (!is_bulk(hash, packet->len, lane, now, &moved))
    return 2 * worker + 1;
  if (moved)
    __sync_fetch_and_add(&lane->moves, 1);
  __u32 queued = lane->queued;
  if (queued - lane->taken < LANE_ROOM) {
    lane->stamps[queued % LANE_STAMPS] = now;
    __sync_fetch_and_add(&lane->queued, 1);
  }
  return 2 * worker;
}

// Offset 0 is the IP header, of a superpacket too: the virtio header is not there.
SEC("socket")
int choose_queue(struct __sk_buff *packet) {
  __u8 version = 0;
  bpf_skb_load_bytes(packet, 0, &version, 1);
  __u64 flow = version >> 4 == 4 ? flow_of_ipv4(packet) : version >> 4 == 6 ? flow_of_ipv6(packet) : 0;
  __u64 hash = mix(flow, settings.seed[1]);
  __u32 worker = worker_of(hash >> 57 & (SLOTS - 1));
  return settings.lanes ? choose_lane(packet, hash, worker) : worker;
}

char _license[] SEC("license") = "Dual MIT/GPL";
