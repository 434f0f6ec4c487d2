// The signals that end the daemon.
#pragma once

#include <csignal>

namespace culvert::daemon {

// SIGINT, SIGTERM, and SIGHUP and SIGQUIT unless whoever started us had them ignored (nohup, a shell's background job).
// There is nothing to reload, so SIGHUP is an end like the others. Yields the same set throughout the process.
sigset_t end_signals();

// Blocks end_signals() in this thread and in those that it starts later, for a signalfd to read them; ignores SIGPIPE.
void block_end_signals();

}  // namespace culvert::daemon
