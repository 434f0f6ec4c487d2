// Gives whole datagrams to our UDP ports to the socket of their queue, and all the rest to the kernel.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { QUEUES = 64, MOST_PORTS = 1024, FRAGMENT_BITS = 0x3fff, VLAN_BYTES = 4 };

// By this name the driver finds it.
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} xsks_map SEC(".maps");

// UDP ports of ours, in network byte order.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, MOST_PORTS);
  __type(key, __u16);
  __type(value, __u8);
} udp_ports SEC(".maps");

static __always_inline int is_ours(const void *transport, const void *end) {
  const struct udphdr *udp = transport;
  if ((const void *)(udp + 1) > end)
    return 0;
  __u16 port = udp->dest;
  return bpf_map_lookup_elem(&udp_ports, &port) != 0;
}

SEC("xdp")
int steer_datagrams(struct xdp_md *context) {
  const void *end = (const void *)(long)context->data_end;
  const struct ethhdr *link = (const void *)(long)context->data;
  if ((const void *)(link + 1) + VLAN_BYTES > end)
    return XDP_PASS;
  __u16 type = link->h_proto;
  const void *packet = link + 1;
  if (type == bpf_htons(ETH_P_8021Q)) {
    type = ((const __u16 *)packet)[1];
    packet += VLAN_BYTES;
  }
  if (type == bpf_htons(ETH_P_IP)) {
    const struct iphdr *ip = packet;
    if ((const void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP || ip->ihl < 5 ||
        (ip->frag_off & bpf_htons(FRAGMENT_BITS)) != 0 || !is_ours(packet + ip->ihl * 4, end))
      return XDP_PASS;
  } else if (type == bpf_htons(ETH_P_IPV6)) {
    const struct ipv6hdr *ip = packet;
    if ((const void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP || !is_ours(ip + 1, end))
      return XDP_PASS;
  } else {
    return XDP_PASS;
  }
  return bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
