// What ExecutorCheck writes when translated code differs.
#include <Zydis/Zydis.h>

#include "base/log.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/executor_check.hpp"

namespace bhyve::soft {

namespace {

std::string hex(const u8* bytes, unsigned n) {
  std::string text;
  for (unsigned k = 0; k < n; ++k) text += fmt::format("{:02x}", bytes[k]);
  return text;
}

std::string disassembled(const u8* bytes, unsigned available, u64 address, unsigned& length,
                         ZydisMachineMode mode = ZYDIS_MACHINE_MODE_LONG_64) {
  ZydisDisassembledInstruction insn;
  if (ZYAN_SUCCESS(ZydisDisassembleIntel(mode, address, bytes, available, &insn))) {
    length = insn.info.length;
    return insn.text;
  }
  length = 1;
  return "(data)";
}

void row(std::string_view name, u64 begun, u64 wanted, u64 found, u64 mask = ~u64{0}) {
  log_error("  {:<8} {:016x}  {:016x}  {:016x}{}", name, begun, wanted, found,
            (wanted ^ found) & mask ? "  <--" : "");
}

constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

}  // namespace

/// Flags whose value after the segment the architecture leaves open: the interpreter may come to
/// others than the host's instruction.
u8 ExecutorCheck::undefined_flags(unsigned end) const {
  ZydisDecoder decoder;
  const bool code32 = block_->code_size == CodeSize::bits32;
  ZydisDecoderInit(&decoder, code32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64,
                   code32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
  const auto mask = [](ZydisAccessedFlagsMask eflags) {
    constexpr u32 overflow = 1u << 11;
    return static_cast<u8>((eflags & flag::all & ~u32{flag::of}) | (eflags & overflow ? flag::of : 0u));
  };
  unsigned open = 0;
  for (unsigned n = first_; n < end && n < block_->count; ++n) {
    const Insn& i = copies_[n];
    ZydisDecodedInstruction info;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, block_->raw() + i.offset, i.length, &info)) ||
        !info.cpu_flags)
      continue;
    const ZydisAccessedFlags& f = *info.cpu_flags;
    open = (open & ~unsigned{mask(f.modified | f.set_0 | f.set_1)}) | mask(f.undefined);
  }
  return static_cast<u8>(open);
}

void ExecutorCheck::report(std::string_view what, unsigned end, bool left) {
  cpu_.fpu.park();
  log_error("executor check: vcpu {}: {}", cpu_.id(), what);
  report_code(end, left);
  report_state(end, left);
}

void ExecutorCheck::report_code(unsigned end, bool left) const {
  log_error("guest code at {:#x} (guest-physical {:#x}); * = compared", start_rip_, block_->gpa);
  for (unsigned n = 0; n < block_->count; ++n) {
    const Insn& i = copies_[n];
    unsigned length;
    const u8* bytes = block_->raw() + i.offset;
    const bool compared = n >= first_ && (left ? n <= way_.end : n < end);
    log_error("{} {:016x}  {:<30} {}", compared ? '*' : ' ', start_rip_ + i.offset, hex(bytes, i.length),
              disassembled(bytes, i.length, start_rip_ + i.offset, length,
                           block_->code_size == CodeSize::bits32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                                                 : ZYDIS_MACHINE_MODE_LONG_64));
  }
  log_error("host code");
  for (unsigned at = 0; at < code_bytes_;) {
    unsigned length;
    const u64 address = reinterpret_cast<u64>(code_) + at;
    const std::string text = disassembled(code_ + at, code_bytes_ - at, address, length);
    log_error("  {:016x}  {:<30} {}", address, hex(code_ + at, length), text);
    at += length;
  }
}

void ExecutorCheck::report_state(unsigned end, bool left) {
  log_error("  {:<8} {:<16}  {:<16}  {:<16}", "", "before", "interpreter", "translated");
  for (unsigned n = 0; n < 16; ++n) row(names[n], begun_.r.gpr[n], wanted_.r.gpr[n], found_.r.gpr[n]);
  if (left) row("rip", start_rip_, wanted_.r.rip, found_.r.rip);
  row("flags", begun_.r.flags, wanted_.r.flags, found_.r.flags, needed_flags(end, left));
  if (vectors_) {
    row("fip", begun_.v.fip, wanted_.v.fip, found_.v.fip);
    row("fdp", begun_.v.fdp, wanted_.v.fdp, found_.v.fdp);
    row("fop", begun_.v.fop, wanted_.v.fop, found_.v.fop);
    for (unsigned at = 0; at < XsaveLayout::host().size; at += 8) {
      u64 begun = 0, wanted = 0, found = 0;
      for (unsigned k = 8; k-- > 0;) {
        begun = begun << 8 | vector_byte(begun_.v, at + k);
        wanted = wanted << 8 | vector_byte(wanted_.v, at + k);
        found = found << 8 | vector_byte(found_.v, at + k);
      }
      if (wanted != found) row(fmt::format("xsave+{}", at), begun, wanted, found);
    }
  }
  for (unsigned n = 0; n < journal_.count(); ++n) {
    const StoreJournal::Place& p = journal_.at(n);
    const bool differs = StoreJournal::differs(p);
    log_error("  store of {} bytes (host {}): {}, {}, {}{}", p.size, fmt::ptr(p.host),
              hex(p.old.data(), p.size), hex(p.wanted.data(), p.size), hex(p.found.data(), p.size),
              differs ? "  <--" : "");
  }
}

}  // namespace bhyve::soft
