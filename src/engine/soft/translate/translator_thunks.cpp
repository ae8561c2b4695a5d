// The code around translated blocks: entering, leaving, and calling C++ on the Cpu's own stack.
#include <cstddef>

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/host_code.hpp"
#include "engine/soft/translate/translator.hpp"
#include "engine/soft/translate/translator_helpers.hpp"

namespace bhyve::soft {

namespace {

constexpr u8 callee_saved[] = {host::rbx, host::rbp, host::r12, host::r13, host::r14, host::r15};

using Helper = const void*;
template <auto function>
Helper helper(bool live) {
  return reinterpret_cast<Helper>(live ? &TranslatorHelpers::Live<function>::call : function);
}

}  // namespace

/// Writes the thunks. `above`: what has been pushed since RSP was the Cpu.
class Translator::ThunkWriter final {
 public:
  ThunkWriter(HostCode& code, Translator& t) : c_(code), t_(t), frame_(t.cpu_.frame), state_(t.cpu_.translated) {}

  /// u32 enter(Cpu*, const u8* code)
  const u8* enter() {
    const u8* entry = here();
    for (const u8 r : callee_saved) {
      if (r >= 8) c_.byte(0x41);
      c_.byte(0x50u | (r & 7u));
    }
    c_.store({host::rdi, t_.offset(state_.host_rsp)}, host::rsp);
    c_.move(host::rsp, host::rdi);
    c_.move(host::s0, host::rsi);
    reload(0);
    c_.byte(0x41), c_.byte(0xff), c_.modrm(4, host::s0);  // jmp s0
    return entry;
  }

  /// eax = LeaveCode, registers spilled, RSP = Cpu.
  const u8* leave() {
    const u8* entry = here();
    leave_ = c_.at();
    c_.load(host::rsp, at(state_.host_rsp));
    for (unsigned n = sizeof callee_saved; n-- > 0;) {
      if (callee_saved[n] >= 8) c_.byte(0x41);
      c_.byte(0x58u | (callee_saved[n] & 7u));
    }
    c_.byte(0xc3);
    return entry;
  }

  /// s0d = what TranslatedState::exit is to be.
  const u8* leaving(LeaveCode code) {
    const u8* entry = here();
    c_.rm(0x89, host::s0, at(state_.exit), false);
    leave_with(code);
    return entry;
  }

  /// s1 = twice the target's index in TranslatedState::jumps; TranslatedFrame has its page.
  const u8* exit_jump() {
    const u8* entry = here();
    c_.store(at(frame_.temporary), host::s1);
    leave_with(LeaveCode::jumped);
    return entry;
  }

  /// The signal handler leads here; s0 and s1 are free, the flags still those of the trap.
  const u8* trap() {
    const u8* entry = here();
    c_.move(host::s0, host::rax);
    c_.byte(0x9f), c_.byte(0x0f), c_.byte(0x90), c_.byte(0xc0);  // lahf; seto al
    c_.byte(0x66);
    c_.rm(0x89, host::rax, at(state_.trap_flags), false);        // mov [trap_flags], ax
    c_.move(host::rax, host::s0);
    leave_with(LeaveCode::trap);
    return entry;
  }

  /// s0 = Insn; pushed: descriptor, return address. Executes it by the interpreter.
  const u8* callout(Helper function) {
    const u8* entry = here();
    spill(above);
    c_.move(host::rsi, host::s0);
    call(function, host::rdx);
    c_.rr(0x85, host::rax, host::rax);  // test rax, rax
    u8* out = c_.jump_if(cc::nz);
    reload(above);
    ret_8();
    leave_at(out);
    return entry;
  }

  /// s0 = linear address; pushed: MissedAccess, return address. Comes back to look again, or
  /// five bytes further when the instruction has been executed.
  const u8* missed(Helper function) {
    const u8* entry = here();
    spill(above);
    c_.store(at(frame_.linear, above), host::s0);
    c_.move(host::rsi, host::s0);
    call(function, host::rdx);
    c_.alu_imm(op::cmp, host::rax, 0, false);
    u8* done = c_.jump_if(cc::ne);
    look_again();
    c_.here(done);
    c_.alu_imm(op::cmp, host::rax, static_cast<i32>(LeaveCode::executed), false);
    u8* out = c_.jump_if(cc::ne);
    c_.rm(0x83, 0, {host::cpu, 0});  // add qword [rsp], 5
    c_.byte(5);
    reload(above);
    ret_8();
    leave_at(out);
    return entry;
  }

  /// s1 = Insn; TranslatedFrame has page and index; pushed: descriptor, return address. Comes back to
  /// look again with the target in s0.
  const u8* jump_missed(Helper function) {
    const u8* entry = here();
    spill(above);
    c_.move(host::rsi, host::s1);
    call(function, host::rdx);
    c_.rr(0x85, host::rax, host::rax);
    u8* out = c_.jump_if(cc::nz);
    look_again();
    leave_at(out);
    return entry;
  }

  /// s0 = linear address in the stack -> its offset in the page that TranslatedFrame now has for the
  /// stack, or something beyond a page when the Tlb has none that may be written. Changes s1.
  const u8* stack_missed() {
    constexpr i32 pushed = 8;
    constexpr i32 write = offsetof(Tlb::Entry, write), addend = offsetof(Tlb::Entry, addend);
    const u8* entry = here();
    c_.rr(0x8b, host::s1, host::s0, false);
    c_.byte(0x41), c_.byte(0xc1);  // shr s1d, 7
    c_.modrm(5, host::s1);
    c_.byte(page_shift - 5);
    c_.alu_imm(op::and_, host::s1, (Tlb::entries - 1) << 5, false);
    c_.rm(0x03, host::s1, at(frame_.tlb, pushed));
    c_.rm(0x03, host::s0, {host::s1, write});
    c_.alu_imm(op::cmp, host::s0, page_mask);
    u8* none = c_.jump_if(cc::a);
    c_.store(at(frame_.temporary, pushed), host::rax);
    c_.load(host::rax, {host::s1, write});
    c_.store(at(frame_.stack_key, pushed), host::rax);
    c_.load(host::rax, {host::s1, addend});
    c_.store(at(frame_.stack_addend, pushed), host::rax);
    c_.load(host::rax, at(frame_.temporary, pushed));
    c_.here(none);
    c_.byte(0xc3);
    return entry;
  }

 private:
  static constexpr i32 above = 16;  ///< descriptor and return address

  const u8* here() {
    while (c_.size() % 16) c_.byte(0xcc);
    return t_.cache_.executable(c_.at());
  }
  void leave_with(LeaveCode code) {
    spill(0);
    c_.move_imm(host::rax, static_cast<u64>(code));
    c_.jump(leave_);
  }
  HostMem home(u8 guest, i32 pushed) { return {host::cpu, pushed + t_.offset(t_.cpu_.gpr) + guest * 8}; }
  void spill(i32 pushed) {
    for (u8 g = 0; g < 16; ++g)
      if (host::of_guest[g] != host::in_memory) c_.store(home(g, pushed), host::of_guest[g]);
  }
  void reload(i32 pushed) {
    for (u8 g = 0; g < 16; ++g)
      if (host::of_guest[g] != host::in_memory) c_.load(host::of_guest[g], home(g, pushed));
  }
  template <class T>
  HostMem at(const T& member, i32 pushed = 0) {
    return {host::cpu, pushed + t_.offset(member)};
  }
  /// function(Cpu&, ..., what was pushed in `last`)
  void call(Helper function, u8 last) {
    c_.lea(host::rdi, {host::cpu, above});
    c_.rm(0x8b, last, {host::cpu, 8}, false);
    c_.move_imm(host::rax, reinterpret_cast<u64>(function));
    c_.byte(0xff), c_.modrm(2, host::rax);
  }
  void look_again() {
    reload(above);
    c_.load(host::s0, at(frame_.linear, above));
    ret_8();
  }
  /// rax = what to leave with, or the address of translated code.
  void leave_at(u8* from) {
    c_.here(from);
    c_.lea(host::rsp, {host::cpu, above});
    c_.alu_imm(op::cmp, host::rax, page_size);
    c_.jump_if(cc::be, leave_);
    c_.move(host::s0, host::rax);
    reload(0);
    c_.byte(0x41), c_.byte(0xff), c_.modrm(4, host::s0);  // jmp s0
  }
  void ret_8() { c_.byte(0xc2), c_.byte(8), c_.byte(0); }

  HostCode& c_;
  Translator& t_;
  TranslatedFrame& frame_;
  TranslatedState& state_;
  const u8* leave_ = nullptr;
};

void Translator::emit_thunks() {
  HostCode c(cache_.begin(), cache_.end());
  ThunkWriter w(c, *this);
  const bool live = cpu_.vm().translation.mask;
  thunks_.enter = w.enter();
  thunks_.leave = w.leave();
  thunks_.exit_unlinked = w.leaving(LeaveCode::unlinked);
  thunks_.exit_poll = w.leaving(LeaveCode::poll);
  thunks_.exit_here = w.leaving(LeaveCode::here);
  thunks_.trap = w.trap();
  thunks_.exit_jump = w.exit_jump();
  thunks_.callout = w.callout(helper<&TranslatorHelpers::callout>(live));
  thunks_.callout_live = w.callout(helper<&TranslatorHelpers::callout_live>(live));
  thunks_.read_missed = w.missed(helper<&TranslatorHelpers::read_missed>(live));
  thunks_.write_missed = w.missed(helper<&TranslatorHelpers::write_missed>(live));
  thunks_.jump_missed = w.jump_missed(helper<&TranslatorHelpers::jump_missed>(live));
  thunks_.stack_missed = w.stack_missed();
  cache_.commit(c.size());
  cache_.keep();
  cpu_.translated.trap_entry = thunks_.trap;
}

}  // namespace bhyve::soft
