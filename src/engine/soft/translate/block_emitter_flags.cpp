// Where the guest's arithmetic flags are. Packed as Cpu::flags has them: AH of LAHF in the high byte, OF
// in bit 0.
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

void BlockEmitter::save_flags() {
  c_.move(host::s0, host::rax);
  c_.byte(0x9f);                                      // lahf
  c_.byte(0x0f), c_.byte(0x90), c_.byte(0xc0);        // seto al
  c_.byte(0x66);
  c_.rm(0x89, host::rax, state(flags_), false);       // mov [flags], ax
  c_.move(host::rax, host::s0);
}

void BlockEmitter::restore_flags() {
  c_.move(host::s0, host::rax);
  c_.rm(0x0fb7, host::rax, state(flags_), false);     // movzx eax, word [flags]
  c_.byte(0x04), c_.byte(0x7f);                       // add al, 7Fh: OF from bit 0
  c_.byte(0x9e);                                      // sahf
  c_.move(host::rax, host::s0);
}

void BlockEmitter::clobber_flags(u8 live) {
  if (live && !in_memory_) {
    save_flags();
    in_memory_ = true;
  }
  in_host_ = false;
}

void BlockEmitter::flags_to_host(u8 needed) {
  if (!needed || in_host_) return;
  restore_flags();
  in_host_ = true;
}

void BlockEmitter::flags_to_host_busy(u8 needed) {
  if (!needed || in_host_) return;
  c_.store(state(temporary_), host::rax);
  c_.rm(0x0fb7, host::rax, state(flags_), false);
  c_.byte(0x04), c_.byte(0x7f);
  c_.byte(0x9e);
  c_.load(host::rax, state(temporary_));
  in_host_ = true;
}

}  // namespace bhyve::soft
