"""Which group of work a function belongs to: the one table to mend when the kernel or culvert renames something.

A sample is judged by its stack, from the innermost function outwards: the first one that has a group decides. So a lock,
an allocation of no interest or a list operation counts for whoever called it. What no rule knows is listed by the report.
"""

import re

# Where a function lives. A rule holds in one of these, so that the kernel's memcpy and ours do not meet.
KERNEL, OURS, USER = "kernel", "ours", "user"

# Group, where, patterns of which one has to match the start of the name. The first rule that matches decides.
_TABLE = (
    ("idle", KERNEL, r"""
        pv_native_safe_halt native_safe_halt default_idle acpi_(idle|safe) intel_idle mwait_ cpuidle_ do_idle poll_idle
        cpu_startup_entry tick_nohz_ nohz_ sched_idle_set call_cpuidle arch_cpu_idle"""),
    ("copies", KERNEL, r"""
        rep_movs_alternative copy_user_ _?copy_(to|from)_(iter|user) _copy_from_iter __copy_ copyin copyout __?memcpy memcpy
        memmove __memmove skb_copy_(bits|datagram|and) __skb_datagram_iter simple_copy_to_iter __skb_copy iov_iter_ _?iterate_
        skb_splice copy_page_(to|from) csum_and_copy __check_(object|heap|stack) check_stack_object check_heap_object
        skb_zerocopy tun_put_user"""),
    ("checksum", KERNEL, r"""
        csum_ do_csum __?skb_checksum skb_checksum __csum gso_(make|reset)_checksum"""),
    ("memory", KERNEL, r"""
        kmem_cache_ k(z|v)?m?alloc __k(z|v)?malloc __kmalloc kfree kvfree ___?slab_ __slab slab_ ___cache_free kmalloc_
        __?alloc_(skb|pages|frozen) alloc_(skb|pages|frozen) __?get_(free_)?page get_page_
        free_(unref|frozen|pcp|one|page|large) __free_ skb_(release|free|attempt_defer|page_frag|put|ensure|unref)
        __?(kfree|consume)_?s?k?b consume_skb sk_skb_reason kfree_skb page_frag __page_frag __page_pool page_pool
        napi_(alloc|build|skb_cache|consume) __napi_(alloc|build|kfree) build_skb __build_skb rmqueue __rmqueue clear_page
        clear_highpage put_page folio __folio lru_ mod_(node|lruvec|zone|memcg) __mod_
        (__|mem_|obj_)?(memcg|cgroup)_(c|un|slab|post|al) refill_(obj_)?stock consume_(obj_)?stock obj_cgroup drain_
        mem_cgroup __mem_cgroup try_charge handle_mm_fault do_anonymous __handle_mm exc_page_fault do_user_addr_fault
        asm_exc_page prep_(new|compound) __count_memcg sk_page_frag_refill defer_free skb_defer napi_skb_ alloc_ __pskb pskb_
        ___?pskb skb_(clone|headers|head_from|expand) __skb_clone decay_pcp
        free_tail __put_ build_detached policy_nodemask"""),
    ("scheduling and wake-ups", KERNEL, r"""
        __?schedule schedule preempt_schedule pick_ __?pick set_next_ put_prev
        (en|de)queue_(task|entity|entities|hrtimer|load) __?(en|de)queue_entity
        update_(curr|load|cfs|rq|se|blocked|min_v|entity|process|deadline|sd) __update_load try_to_wake __wake_up wake_up
        default_wake autoremove_wake woken_wake pollwake ttwu_ wakeup_preempt check_preempt ep_ do_epoll __x64_sys_epoll
        eventpoll epoll_ finish_task_switch switch_mm __switch_to switch_fpu restore_fpregs select_(task|idle|poll)
        available_idle resched place_entity avg_vruntime reweight vruntime_ entity_ native_smp_send flush_smp generic_exec
        __sysvec_(call|resched) sysvec_(call|resched) asm_sysvec_(call|resched) sched_(ttwu|balance|tick) futex do_futex
        __futex __x64_sys_futex hrtick sock_def_(readable|write) sk_wait_data wait_woken (prepare|finish)_(to_)?wait
        add_wait_queue remove_wait_queue do_wait cpuacct psi_ perf_event_(context|task|switch) __perf_event_task ctx_sched
        rb_(insert|erase|next|first) __rb_ yield_task (do_)?sched_yield poll_ do_(sys_)?poll do_select core_sys_select
        kern_select task_(tick|rq|non|fork|h) cfs_ dl_ rt_ requeue throttle sched_ __sched migrate_ newidle load_balance
        prepare_task_switch set_task_cpu raw_spin_rq __raw_spin_rq raise_softirq __raise_softirq wakeup_softirqd eventfd_
        io_wq sched_clock_cpu exit_to_user_mode_loop call_function_single llist_ smp_call x2apic_send __x2apic_send
        kvm_send_ipi kick_ilb cpu_util dequeue_ enqueue_ propagate_ attach_ detach_ cpumask_ native_write_msr smpboot_
        run_ksoftirqd kthread"""),
    ("TUN", KERNEL, r"tun_ __tun tap_ virtio_net_hdr"),
    ("veth and device layer", KERNEL, r"""
        veth_ napi_ __napi net_rx_action process_backlog netif_ __netif dev_ __dev_ validate_xmit enqueue_to_backlog
        skb_(gso|mac_gso|segment|gro|vlan|clone_tx|tx_error|orphan|network|checksum_help|scrub|pp_cow|csum_hwoff|warn)
        __skb_(gso|flow|get_hash) harmonize sk_(filter|set_pacing) netdev_ xdp_ ptr_ring __ptr_ring eth_ passthru_features
        rps_ get_rps gro_ inet_gro __xmit xmit_ loopback_ noqueue qdisc_ __qdisc sch_ fq_ pfifo __skb_(vlan|header|tstamp)
        net_tx_action bpf_ packet_ deliver_ skb_flow flow_ ___?skb_get_hash __get_hash get_hash cls_ do_xdp page_to_skb
        is_skb_forwardable"""),
    ("TCP", KERNEL, r"""
        tcp_ __tcp tcp4_ tcp6_ tcpv?6?_ inet_csk sk_(stream|reset_timer|stop_timer|forced) cubic bictcp bbr cubictcp
        __sk_flush_backlog __release_sock skb_(still|rbtree|split|shift|try_coalesce|condense)
        inet_ehash __inet_lookup inet6_lookup __inet6_lookup reqsk_ minmax_ rate_ skb_entail"""),
    ("UDP and IP", KERNEL, r"""
        udp __udp skb_(consume_udp|udp|set_owner|recv) __skb_(recv|try_recv|wait) __first_packet first_packet ip_ __ip_ ip6_
        __ip6 ipv6_ ipv4_ fib __fib nf_ inet_(gso|send|recv|addr|lookup|rcv|select|get) inet6_ neigh_ dst_ rt6_ rt_ ip4_ icmp
        raw_(local|v) sk_dst __sk_dst sock_(alloc_send|queue_rcv) __icmp inet_ inetdev xfrm __xfrm
        sk_setup_caps datagram_"""),
    ("timers and interrupts", KERNEL, r"""
        hrtimer __hrtimer tick_ asm_sysvec sysvec_ __sysvec irq_ __irq handle_softirq __do_softirq do_softirq __local_bh
        local_bh run_timer __run_timers call_timer __mod_timer mod_timer timer_ native_apic apic_ lapic clockevents
        ktime_get_update timekeeping update_wall run_posix perf_ __perf common_interrupt asm_common enqueue_timer add_timer
        del_timer try_to_del_timer get_nohz calc_(global|load|wheel) rcu_(core|sched|gp|do_batch) account_ native_sched"""),
    ("syscalls", KERNEL, r"""
        entry_SYSCALL do_syscall x64_sys_call syscall_ __x64_sys ksys_ __?sys_ ___?sys_
        do_(readv|writev|iter|recvmmsg|preadv|pwritev) vfs_ sock_ __sock ____sys fdget fput __fget __fput import_ __import
        security_ aa_ apparmor copy_msghdr move_addr exit_to_user ret_from rw_verify new_sync fsnotify __fsnotify file_
        __cond_resched entry_ unix_ pipe_ anon_pipe io_(uring|submit|issue|read|write|send|recv) __io_ user_path put_user
        get_user __get_user __put_user arch_exit fpregs sendmsg recvmsg put_cmsg __scm scm_ sockfd init_ audit_ do_sock
        sockopt __fdget copy_iovec iovec_from"""),

    # The daemon, by the names of the source without culvert::; inlined functions are seen where it has -g1.
    ("program without symbols", OURS, r"\[unknown"),
    ("crypto", OURS, r"crypto:: .*(poly1305|chacha|blake2|curve25519|x25519)"),
    ("checksum", OURS, r"tun::(.*[cC]hecksum|.*_sum$|.*fold)"),
    ("coalesce", OURS, r"tun::(Coalescer|.*[Cc]oalesce)"),
    ("segment", OURS, r"tun::(.*[Ss]egment|plan)"),
    ("replay window", OURS, r"protocol::ReplayWindow"),
    ("index lookup", OURS, r"protocol::IndexTable"),
    ("route (allowed IPs)", OURS, r"protocol::AllowedIps pipeline::Outbound::route"),
    ("keypair, peer, timers", OURS, r"protocol::"),
    ("train builder", OURS, r"pipeline::TrainBuilder"),
    ("outbound, the rest", OURS, r"pipeline::(Outbound|Staging|.*staged)"),
    ("inbound, the rest", OURS, r"pipeline::(Inbound|.*ecn|.*Ecn)"),
    ("worker loop", OURS, r"pipeline:: io::(Poller|Wakeup|poll|.*Ring) boost::lockfree"),
    ("UDP side of ours", OURS, r"io::"),
    ("TUN side of ours", OURS, r"tun::"),
    ("control", OURS, r"daemon:: spdlog nlohmann MHD_"),

    # wireguard-go, iperf3 and the C library of anybody.
    ("copies", USER, r".*(memcpy|memmove)"),
    ("crypto", USER, r".*(chacha20|poly1305|blake2|curve25519|sealAVX|openAVX|crypto/|x25519)"),
    ("memory", USER, r"""
        (__)?(libc_)?(malloc|free|calloc|realloc) _int_(malloc|free) operator.(new|delete)
        runtime\.(malloc|gc|scan|mark|sweep|grey|heap|bg|find|mem|newobject) __memset"""),
    ("checksum", USER, r".*[cC]hecksum"),
    ("scheduling and wake-ups", USER, r"""
        urcu_ __tls_get_addr
        runtime\.(schedule|findRunnable|futex|chan|lock|unlock|park|ready|mcall|gopark|wake|steal|sel|netpoll|run|execute|casg)
        runtime\.(stopm|startm|note|goready|sema|proc|usleep|send|recv)
        epoll_ __?poll select pthread_(cond|mutex) __lll sync\. runtime/internal/atomic internal/runtime/atomic"""),
    ("syscalls", USER, r"""
        (__GI_)?_*(libc_)?(pthread_(en|dis)able_async|send|recv|readv?$|writev?$|clock_gettime|gettimeofday|syscall|p?select)
        __vdso syscall\. internal/poll runtime\.(entersyscall|exitsyscall|reentersyscall) __sys __syscall
        runtime/internal/syscall internal/runtime/syscall"""),
)

# Kernel functions that say nothing by themselves: whoever called them counts. Not listed as unknown.
_FOR_THE_CALLER = r"""
        _raw_ __raw_ native_queued queued_ rcu_ __rcu ___rcu preempt_ __preempt lock_ mutex_ __mutex __list list_ memset
        __memset refcount __x86_ srso_ retbleed entry_untrain entry_ibpb __fentry ktime_ read_tsc pvclock kvm_ sched_clock
        local_clock __virt __warn debug_ down_ up_ __up __down sock_(r|w)free __sock_wfree sk_mem __sk_mem release_sock
        lock_sock bsearch strcmp strlen memcmp hash_ jhash lookup_nulls is_vmalloc copy_from_kernel __get_pfn siphash
        __siphash find_ _find native_ __bpf_prog __htab htab_
        clear_bhb its_ error_ asm_exc stackleak current_time in_gate bit_ idr_
        xa_ xas_ irqentry cond_ __cond percpu this_cpu get_random dup_ kprobe trace"""


def _compile(names):
    return re.compile("|".join(names.split()))


_RULES = {place: [(group, _compile(pattern)) for group, where, pattern in _TABLE if where == place]
          for place in (KERNEL, OURS, USER)}

_ANONYMOUS = _compile(_FOR_THE_CALLER)

# The order of the report: idle last, everything else by its share.
LAST = ("other", "idle")


def bare(name):
    """A C++ name without parameters, template arguments, return type and our outermost namespace."""
    name = name.replace("(anonymous namespace)::", "").split(" [clone")[0].split("::{lambda")[0]
    if "operator" in name:
        return name.removeprefix("culvert::")
    depth, kept = 0, []
    for letter in name:
        depth += letter in "(<"
        if depth == 0:
            kept.append(letter)
        depth -= letter in ")>" and depth > 0
    words = "".join(kept).removesuffix(" const").split(" ")
    return words[-1].removeprefix("culvert::") or name


def group_of(place, name):
    """The group of one function, None if it has none of its own."""
    if place == OURS:
        name = bare(name)
    if place == KERNEL and _ANONYMOUS.match(name):
        return None
    # The C library's functions are everybody's; ours come first for our program.
    for where in (OURS, USER) if place == OURS else (place,):
        for group, pattern in _RULES[where]:
            if pattern.match(name):
                return group
    return None


def known(place, stack):
    """True unless a rule is missing: for the innermost function of the kernel, for any one of a program."""
    if place == KERNEL:
        return group_of(place, stack[0]) is not None or _ANONYMOUS.match(stack[0]) is not None
    return any(group_of(place, name) is not None for name in stack)


def judge(place, stack, otherwise="other"):
    """The group of a sample whose functions are `stack`, innermost first."""
    for name in stack:
        group = group_of(place, name)
        if group is not None:
            return group
    return otherwise
