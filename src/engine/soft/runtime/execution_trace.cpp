#include "engine/soft/runtime/execution_trace.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

namespace {

constexpr usize kept_limit = 64 * KiB;

ZydisMachineMode machine_mode(CodeSize size) {
  switch (size) {
    case CodeSize::bits16: return ZYDIS_MACHINE_MODE_LEGACY_16;
    case CodeSize::bits32: return ZYDIS_MACHINE_MODE_LEGACY_32;
    case CodeSize::bits64: break;
  }
  return ZYDIS_MACHINE_MODE_LONG_64;
}

std::string_view name_of(Cpu::EventKind kind) {
  switch (kind) {
    case Cpu::EventKind::exception: return "exception";
    case Cpu::EventKind::external: return "interrupt";
    case Cpu::EventKind::nmi: return "NMI";
    case Cpu::EventKind::software_int:
    case Cpu::EventKind::software_exception: return "INT";
  }
  return "";
}

void append_insn(std::string& out, const Block& b, const Insn& i, u64 rip) {
  const u8* bytes = b.raw() + i.offset;
  std::string hex;
  for (unsigned n = 0; n < i.length; ++n) hex += fmt::format("{:02x}", bytes[n]);
  ZydisDisassembledInstruction insn;
  const bool known =
      ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(b.code_size), rip, bytes, i.length, &insn));
  out += fmt::format("    {:x}  {:<22}  {}\n", rip, hex, known ? insn.text : "(undefined)");
}

}  // namespace

Result<std::unique_ptr<ExecutionTrace>> ExecutionTrace::create(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail(errno, "cpu.trace: cannot make {}: {}", path, std::strerror(errno));
  return std::unique_ptr<ExecutionTrace>(new ExecutionTrace(std::move(fd)));
}

ExecutionTrace::~ExecutionTrace() { write_out(); }

void ExecutionTrace::add(std::string_view lines) {
  const std::lock_guard guard(lock_);
  kept_ += lines;
  if (kept_.size() >= kept_limit) write_out();
}

void ExecutionTrace::flush() {
  const std::lock_guard guard(lock_);
  write_out();
}

void ExecutionTrace::write_out() {
  std::string_view rest = kept_;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;  // a full disk costs lines, nothing else
    rest.remove_prefix(static_cast<usize>(written));
  }
  kept_.clear();
}

/// One line for each block, with the state before it:
///
///   vCPU  RIP  code size/CPL  number of instructions  RFLAGS  RAX RCX RDX RBX RSP RBP RSI RDI R8 ... R15
///
/// Before it, when the block was just decoded, its instructions, indented. One that runs alone (a device
/// access, a store into code, a single step) has a line of its own.
void Cpu::trace_block(const Block& b, unsigned insns) {
  fpu.park();
  std::string lines;
  if (!b.traced) {
    b.traced = true;
    lines += fmt::format("{} block {:x} at {:x} in memory:\n", id_, rip, b.gpa);
    for (unsigned n = 0; n < b.count; ++n) append_insn(lines, b, b.insns[n], rip_of(b.insns[n]));
  }
  const unsigned bits = code64() ? 64 : code_size_ == CodeSize::bits32 ? 32 : 16;
  lines += fmt::format("{} {:x} {}/{} {} {:x}", id_, rip, bits, cpl_, insns, rflags());
  for (unsigned n = 0; n < x86::gpr_count; ++n)
    lines += fmt::format(" {:x}", gpr[n]);
  lines += '\n';
  vm_.trace->add(lines);
}

/// And one for each event that is delivered: its kind, vector, error code; for page faults CR2.
void Cpu::trace_event(const Fault& f, EventKind kind, u64 return_rip) {
  fpu.park();
  std::string line = fmt::format("{} {} {} at {:x}", id_, name_of(kind), static_cast<unsigned>(f.vector), return_rip);
  if (f.has_error) line += fmt::format(" error {:x}", f.error);
  if (f.vector == x86::Vector::pf) line += fmt::format(" address {:x}", s.cr2);
  line += '\n';
  vm_.trace->add(line);
}

}  // namespace bhyve::soft
