# Settings shared by the kernel-peer scripts (sourced, bash). Every one can be set in the environment; the derived
# names all hang off KP_NAME, so several rigs can live side by side under different KP_NAMEs.

. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../../tools/usage.sh"

: "${KP_NAME:=kpeer}"                        # network namespace; also names the state directory
: "${KP_TAP:=${KP_NAME:0:10}t0}"             # tap inside that namespace, joined to the guest's eth0
: "${KP_STATE:=${TMPDIR:-/tmp}/kernel-peer-$KP_NAME}"
: "${KP_CACHE:=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/culvert/kernel-peer}"

# Outer network: KP_HOST_* on the tap, KP_GUEST_* on the guest's eth0.
: "${KP_HOST_ADDRS:=192.168.80.1/24 fd80::e:1/112}"
: "${KP_GUEST_ADDRS:=192.168.80.2/24 fd80::e:2/112}"
: "${KP_ETH_MTU:=1500}"

# The guest's WireGuard interface.
: "${KP_WG_ADDRS:=10.80.0.2/24 fd80::2/112}" # inner addresses of wg0
: "${KP_WG_MTU:=1420}"
: "${KP_LISTEN_PORT:=51820}"
: "${KP_GUEST_PRIVKEY:=}"                    # empty: a fresh key, kept in $KP_STATE
: "${KP_PEER_PUBKEY:=}"                      # empty: a fresh pair, kept in $KP_STATE
: "${KP_PSK:=}"                              # optional preshared key
: "${KP_ALLOWED_IPS:=10.80.0.1/32,fd80::1/128}"
: "${KP_ENDPOINT:=}"                         # empty: wait for the peer to call
: "${KP_KEEPALIVE:=}"                        # optional, seconds
: "${KP_WG_CONF:=}"                          # a whole `wg setconf` file instead of the above

# The machine: Debian's own kernel in qemu, which needs no KVM.
: "${KP_QEMU:=qemu-system-x86_64}"
: "${KP_ACCEL:=tcg,thread=multi}"
# pc boots quickest; microvm cannot calibrate its clock without kvm-clock.
: "${KP_MACHINE:=pc}"
# Under TCG the plain C ChaCha20 of a CPU without SSSE3 beats the vector code
# (use KP_CPU=max for the SSSE3/AVX2/BMI2 code paths); rdrand seeds the RNG at once.
: "${KP_CPU:=qemu64,+rdrand}"
: "${KP_SMP:=2}"
: "${KP_MEM:=256}"                           # MiB
: "${KP_NIC_OPTS:=}"                         # appended to the test NIC, e.g. ,gso=off,guest_tso4=off
: "${KP_BOOT_TIMEOUT:=120}"                  # seconds
: "${KP_DEBUG:=0}"                           # 1: the kernel module's debug messages in dmesg
: "${KP_BZIMAGE:=0}"                        # 1: boot vmlinuz, not the ELF kernel taken from it
: "${KP_APPEND:=}"                           # more kernel command line

# What goes into the image.
: "${KP_KERNEL_PKG:=}"                       # empty: what linux-image-cloud-amd64 (6.12 where offered) depends on
: "${KP_KERNEL_DIR:=}"                       # use an unpacked kernel (boot/, lib/modules or usr/lib/modules below it); / for the installed one
: "${KP_EXTRA_MODULES:=}"                    # e.g. "sch_netem tun"
: "${KP_EXTRA_PROGRAMS:=}"                   # e.g. "tcpdump"
: "${KP_INITRAMFS:=$KP_CACHE/initramfs.cpio}"

die() { echo "kernel-peer: $*" >&2; exit 1; }
say() { echo "kernel-peer: $*" >&2; }

# need PROGRAM...: all present, or a word of how to get them.
need() {
    local p missing=
    for p; do command -v "$p" >/dev/null 2>&1 || missing="$missing $p"; done
    [ -z "$missing" ] && return 0
    say "missing:$missing"
    say "tools/setup interop installs them"
    exit 3
}

# kernel_paths: sets KVER, KIMAGE, KELF (may not exist) and KROOT from the
# unpacked kernel; fetch-kernel makes it.
kernel_paths() {
    KROOT=${KP_KERNEL_DIR:-$KP_CACHE/kernel}
    KIMAGE=$(ls -1v "${KROOT%/}"/boot/vmlinuz-* 2>/dev/null | tail -n 1)
    [ -n "$KIMAGE" ] || return 1
    KVER=${KIMAGE##*/vmlinuz-}
    KELF=$KP_CACHE/vmlinux-$KVER
}

# guest_pid: the pid of this rig's qemu if it is running, checked against the state directory on its command line so
# that a recycled pid is never touched.
guest_pid() {
    local pid
    pid=$(cat "$KP_STATE/guest.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] || return 1
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -e "$KP_STATE/guest.pid" || return 1
    echo "$pid"
}
