#pragma once

namespace bhyve::soft {

/// Installs, once a process, handlers for the synchronous signals that replayed instructions may
/// raise (#DE, #UD, #GP, #MF, #XM arrive as FPE, ILL, SEGV, BUS). A trap inside a stub makes the
/// stub return the trap number + 1; SIGBUS on guest memory that the host could not back is left to
/// mem::HostBacking; anything else is our own bug and ends the process as before.
void install_host_traps();

/// Gives the calling thread an alternate signal stack with a guard page (architecture decision 14).
/// Once per vCPU thread; cheap when done already.
void prepare_signal_stack();

}  // namespace bhyve::soft
