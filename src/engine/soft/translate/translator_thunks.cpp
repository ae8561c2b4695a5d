// The code around translated blocks: entering, leaving, and calling C++ on the Cpu's own stack.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/host_code.hpp"
#include "engine/soft/translate/translator_helpers.hpp"
#include "engine/soft/translate/translator.hpp"

namespace bhyve::soft {

namespace {

constexpr u8 callee_saved[] = {host::rbx, host::rbp, host::r12, host::r13, host::r14, host::r15};

/// Pieces that the thunks are made of. `above`: what has been pushed since RSP was the Cpu.
class ThunkWriter final {
 public:
  ThunkWriter(HostCode& code, Translator& t) : c_(code), t_(t) {}

  void spill(i32 above) {
    for (u8 g = 0; g < 16; ++g)
      if (host::of_guest[g] != host::in_memory) c_.store({host::cpu, above + g * 8}, host::of_guest[g]);
  }
  void reload(i32 above) {
    for (u8 g = 0; g < 16; ++g)
      if (host::of_guest[g] != host::in_memory) c_.load(host::of_guest[g], {host::cpu, above + g * 8});
  }
  template <class T>
  HostMem at(const T& member, i32 above = 0) {
    return {host::cpu, above + t_.offset(member)};
  }
  void call(const void* function) {
    c_.move_imm(host::rax, reinterpret_cast<u64>(function));
    c_.byte(0xff), c_.modrm(2, host::rax);
  }
  void ret_8() { c_.byte(0xc2), c_.byte(8), c_.byte(0); }

 private:
  HostCode& c_;
  Translator& t_;
};

}  // namespace

void Translator::emit_thunks() {
  HostCode c(cache_.begin(), cache_.end());
  ThunkWriter w(c, *this);
  TranslatedState& t = cpu_.translated;
  const auto here = [&] {
    while (c.size() % 16) c.byte(0xcc);
    return cache_.executable(c.at());
  };

  // u32 enter(Cpu*, const u8* code)
  thunks_.enter = here();
  for (const u8 r : callee_saved) {
    if (r >= 8) c.byte(0x41);
    c.byte(0x50u | (r & 7u));
  }
  c.store({host::rdi, offset(t.host_rsp)}, host::rsp);
  c.move(host::rsp, host::rdi);
  c.move(host::s0, host::rsi);
  w.reload(0);
  c.byte(0x41), c.byte(0xff), c.modrm(4, host::s0);  // jmp s0

  // eax = LeaveCode, registers spilled, RSP = Cpu
  thunks_.leave = here();
  c.load(host::rsp, w.at(t.host_rsp));
  for (unsigned n = sizeof callee_saved; n-- > 0;) {
    if (callee_saved[n] >= 8) c.byte(0x41);
    c.byte(0x58u | (callee_saved[n] & 7u));
  }
  c.byte(0xc3);
  const u8* leave = cache_.writable(thunks_.leave);

  // s0d = what TranslatedState::exit is to be
  const auto leaving = [&](LeaveCode code) {
    const u8* entry = here();
    c.rm(0x89, host::s0, w.at(t.exit), false);
    w.spill(0);
    c.move_imm(host::rax, static_cast<u64>(code));
    c.jump(leave);
    return entry;
  };
  thunks_.exit_unlinked = leaving(LeaveCode::unlinked);
  thunks_.exit_poll = leaving(LeaveCode::poll);
  thunks_.exit_here = leaving(LeaveCode::here);

  // The signal handler leads here; s0 and s1 are free, the flags still those of the trap.
  thunks_.trap = here();
  c.move(host::s0, host::rax);
  c.byte(0x9f), c.byte(0x0f), c.byte(0x90), c.byte(0xc0);  // lahf; seto al
  c.byte(0x66);
  c.rm(0x89, host::rax, w.at(t.trap_flags), false);        // mov [trap_flags], ax
  c.move(host::rax, host::s0);
  w.spill(0);
  c.move_imm(host::rax, static_cast<u64>(LeaveCode::trap));
  c.jump(leave);

  // s0 = Insn; pushed: descriptor, return address. Executes it by the interpreter.
  const auto calling = [&](const void* function) {
    constexpr i32 above = 16;
    const u8* entry = here();
    w.spill(above);
    c.lea(host::rdi, {host::cpu, above});
    c.move(host::rsi, host::s0);
    c.rm(0x8b, host::rdx, {host::cpu, 8}, false);
    w.call(function);
    c.rr(0x85, host::rax, host::rax, false);  // test eax, eax
    u8* out = c.jump_if(cc::nz);
    w.reload(above);
    w.ret_8();
    c.here(out);
    c.lea(host::rsp, {host::cpu, above});
    c.jump(leave);
    return entry;
  };
  thunks_.callout = calling(reinterpret_cast<const void*>(&TranslatorHelpers::callout));
  thunks_.callout_live = calling(reinterpret_cast<const void*>(&TranslatorHelpers::callout_live));

  // s0 = linear address, s1 = Insn; pushed: descriptor, return address. Comes back to look again, or
  // five bytes further when the instruction has been executed.
  const auto missing = [&](const void* function) {
    constexpr i32 above = 16;
    const u8* entry = here();
    w.spill(above);
    c.store(w.at(t.linear, above), host::s0);
    c.lea(host::rdi, {host::cpu, above});
    c.move(host::rsi, host::s0);
    c.move(host::rdx, host::s1);
    c.rm(0x8b, host::rcx, {host::cpu, 8}, false);
    w.call(function);
    c.alu_imm(op::cmp, host::rax, 0, false);
    u8* done = c.jump_if(cc::ne);
    w.reload(above);
    c.load(host::s0, w.at(t.linear, above));
    w.ret_8();
    c.here(done);
    c.alu_imm(op::cmp, host::rax, static_cast<i32>(LeaveCode::executed), false);
    u8* out = c.jump_if(cc::ne);
    c.rm(0x83, 0, {host::cpu, 0});  // add qword [rsp], 5
    c.byte(5);
    w.reload(above);
    w.ret_8();
    c.here(out);
    c.lea(host::rsp, {host::cpu, above});
    c.jump(leave);
    return entry;
  };
  thunks_.read_missed = missing(reinterpret_cast<const void*>(&TranslatorHelpers::read_missed));
  thunks_.write_missed = missing(reinterpret_cast<const void*>(&TranslatorHelpers::write_missed));

  cache_.commit(c.size());
  thunk_bytes_ = cache_.used();
  t.trap_entry = thunks_.trap;
}

}  // namespace bhyve::soft
