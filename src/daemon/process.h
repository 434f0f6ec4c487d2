// What the process asks of the kernel for itself: its signals, its descriptors, its secrets.
#pragma once

#include <csignal>
#include <span>

namespace culvert::daemon {

// SIGINT, SIGTERM, and SIGHUP and SIGQUIT unless whoever started us had them ignored (nohup, a shell's background job).
// There is nothing to reload, so SIGHUP is an end like the others. Yields the same set throughout the process.
sigset_t end_signals();

// Blocks end_signals() in this thread and in those that it starts later, for a signalfd to read them; ignores SIGPIPE.
void block_end_signals();

// Points each of stdin, stdout and stderr that is closed to /dev/null, so that no device gets its number. First thing
// in a process.
void open_missing_standard_streams();

// close_range(2), or something that fails like it.
using CloseRange = int (*)(unsigned first, unsigned last, int flags);

// Closes every descriptor above stderr but `kept`. Where close_range() fails (before Linux 5.9) each number up to the
// limit on open files is closed by itself.
void close_all_but(std::span<const int> kept, CloseRange close_range);

// Keeps memory with keys from the disk: the kernel writes no core of this process, nor does gcore(1) write its own
// memory. Only root may look into it from now on, with perf(1) and gdb(1) too. Before the first secret is read.
void forbid_core_dumps();

}  // namespace culvert::daemon
