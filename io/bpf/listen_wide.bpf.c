// Gives the datagrams of a range of ports, and of prefixes of addresses, to one socket of each family; the program of its
// SO_REUSEPORT group goes on from there.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "io/bpf/wide_range.bpf.h"

enum { IPV4 = 2, IPV6 = 10, UDP = 17 };

const volatile struct wide_range range = {};

// The socket of IPv4, and of IPv6.
struct {
  __uint(type, BPF_MAP_TYPE_SOCKMAP);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u64);
} targets SEC(".maps");

static __always_inline int is_ours(struct bpf_sk_lookup *lookup) {
  if (lookup->protocol != UDP || lookup->local_port < range.first_port || lookup->local_port > range.last_port)
    return 0;
  if (range.prefixes == 0)
    return 1;
  // Where the family is the other one the kernel has 0. Volatile, or clang loads from an address that it has computed,
  // which the verifier refuses.
  const volatile struct bpf_sk_lookup *fields = lookup;
  __u32 local[4] = {fields->local_ip4 | fields->local_ip6[0], fields->local_ip6[1], fields->local_ip6[2],
                    fields->local_ip6[3]};
#pragma unroll
  for (__u32 i = 0; i < WIDE_PREFIXES; ++i) {
    const volatile struct wide_prefix *prefix = &range.prefix[i];
    __u32 differs = prefix->family ^ lookup->family;
    for (int word = 0; word < 4; ++word)
      differs |= (local[word] ^ prefix->address[word]) & prefix->mask[word];
    if (i < range.prefixes && differs == 0)
      return 1;
  }
  return 0;
}

SEC("sk_lookup")
int choose_listener(struct bpf_sk_lookup *lookup) {
  __u32 family = lookup->family == IPV6;
  if (!is_ours(lookup))
    return SK_PASS;
  struct bpf_sock *target = bpf_map_lookup_elem(&targets, &family);
  if (target) {
    bpf_sk_assign(lookup, target, 0);  // refused where another program chose: its choice holds
    bpf_sk_release(target);
  }
  return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
