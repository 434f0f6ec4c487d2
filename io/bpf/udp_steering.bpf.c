// Chooses the socket of a SO_REUSEPORT group; io/udp_steering.h says by what.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "io/bpf/steering_table.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
  __uint(max_entries, SLOTS);
  __type(key, __u32);
  __type(value, __u64);
} members SEC(".maps");

// Offset 0 of the context is the UDP header, over IPv4 and IPv6 with any options and extension headers.
struct datagram_start {
  __be16 source_port, destination_port, length, checksum;
  __u8 message[8];
};

SEC("sk_reuseport")
int choose_socket(struct sk_reuseport_md *context) {
  struct datagram_start start = {};
  __u32 worker = 0;
  // Never context->data: of a train only the header is there.
  if (!bpf_skb_load_bytes(context, 0, &start, sizeof start) && start.message[0] == 4) {
    __u32 slot = start.message[7];
    if (slot & 0x80)
      slot += bpf_ntohs(start.source_port);
    worker = worker_of(slot);
  }
  // Fails when that socket is gone. Never SK_DROP, which tells the sender that the port is unreachable.
  bpf_sk_select_reuseport(context, &members, &worker, 0);
  return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
