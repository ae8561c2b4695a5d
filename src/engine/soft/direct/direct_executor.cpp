#include "engine/soft/direct/direct_executor.hpp"

#include <algorithm>
#include <array>
#include <csignal>

#include "base/log.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/system/descriptor.hpp"

namespace bhyve::soft {

namespace rfl = x86::rflags;
using x86::Seg;

namespace {

// What Linux gives its user code, and the host's kernel too: other selectors would be seen.
constexpr u16 user_cs = 0x33, user_ss = 0x2b;
constexpr unsigned samples_needed = 2;
/// What a stop costs, until that was measured. Turns that last no longer end sooner if they are translated.
constexpr u64 stop_us = 8;
/// The mean of fewer says nothing.
constexpr u32 turns_to_judge = 16;
/// In the order of their numbers (SDM vol. 2, table 3-1).
constexpr std::array general_registers{
    &user_regs_struct::rax, &user_regs_struct::rcx, &user_regs_struct::rdx, &user_regs_struct::rbx,
    &user_regs_struct::rsp, &user_regs_struct::rbp, &user_regs_struct::rsi, &user_regs_struct::rdi,
    &user_regs_struct::r8,  &user_regs_struct::r9,  &user_regs_struct::r10, &user_regs_struct::r11,
    &user_regs_struct::r12, &user_regs_struct::r13, &user_regs_struct::r14, &user_regs_struct::r15};

u64 host_ticks() { return __builtin_ia32_rdtsc(); }

}  // namespace

DirectExecutor::DirectExecutor(Cpu& cpu, UserNursery& nursery, const Options& options)
    : cpu_(cpu), nursery_(nursery), options_(options) {
  spaces_.reserve(spaces_most);
  address_space(cpu.s.cr3);
}

DirectExecutor::~DirectExecutor() { cpu_.fpu.fetch(); }

// ---- which address spaces ------------------------------------------------------------------------

DirectExecutor::Candidate& DirectExecutor::candidate() {
  const u64 cr3 = cpu_.s.cr3, fs_base = cpu_.s.seg[static_cast<u8>(Seg::fs)].base;
  Candidate* oldest = &candidates_[0];
  for (Candidate& each : candidates_) {
    if (each.cr3 == cr3 && each.fs_base == fs_base) return each;
    if (each.last_seen < oldest->last_seen) oldest = &each;
  }
  *oldest = {};
  oldest->cr3 = cr3;
  oldest->fs_base = fs_base;
  return *oldest;
}

u64 DirectExecutor::tsc_hz() const { return options_.tsc_hz ? options_.tsc_hz : 2'000'000'000; }

u64 DirectExecutor::stop_ticks() const {
  return shortest_turn_ ? shortest_turn_ : tsc_hz() / 1'000'000 * stop_us;
}

ExecutorChoice::Scale DirectExecutor::scale() const {
  const u64 millisecond = tsc_hz() / 1000;
  return {2 * millisecond, millisecond / 4, stop_ticks(), millisecond, 64 * millisecond};
}

void DirectExecutor::interrupted_user() {
  const u64 now = host_ticks();
  if (current_) return current_->choice.goes_on(now - user_since_);
  if (!can_run()) return;
  Candidate& it = candidate();
  if (now - it.last_seen > tsc_hz() / 32) it.samples = 0;
  it.last_seen = now;
  if (it.refused) return;
  const bool long_turns = it.turns.turns < turns_to_judge || it.turns.mean() > stop_ticks();
  if (++it.samples >= samples_needed && long_turns) return promote(cpu_.s.cr3);
  it.turns = {};
  watched_ = &it;
  watching_ = true;
  user_since_ = now;
}

void DirectExecutor::address_space(u64 cr3) {
  current_ = nullptr;
  for (Space& space : spaces_)
    if (space.cr3 == cr3) current_ = &space;
  if (current_)
    current_->last_used = ++clock_;
  else if (options_.always && !candidate().refused)
    promote(cr3);
  watching_ = !current_ && watched_ && watched_->cr3 == cr3;
}

void DirectExecutor::promote(u64 cr3) {
  Space* space = nullptr;
  for (Space& each : spaces_)
    if (each.cr3 == no_space) space = &each;
  if (!space && spaces_.size() < spaces_most) {
    cpu_.fpu.park();
    if (auto made = nursery_.spawn(cpu_.id())) {
      space = &spaces_.emplace_back();
      space->process = std::move(*made);
      space->mappings = std::make_unique<UserMappings>(cpu_, *space->process, options_.always);
    }
  }
  if (!space)
    for (Space& each : spaces_)
      if (!space || each.last_used < space->last_used) space = &each;
  if (!space) return;
  space->cr3 = cr3;
  space->mappings->clear();
  space->last_used = ++clock_;
  space->choice = ExecutorChoice(scale());
  user_since_ = host_ticks();
  elsewhere_ = false;
  current_ = space;
  watching_ = held_ = turn_ = false;
  fill_ = no_fill;
  ++counters.promoted;
}

/// The host, or what the guest has where we have something, does not let it be.
void DirectExecutor::refuse() {
  ++counters.refused;
  candidate().refused = true;
  current_->mappings->clear();
  current_->cr3 = no_space;
  current_ = nullptr;
}

void DirectExecutor::entered_kernel() {
  held_ = false;
  if (!current_ && !watching_) return;
  const u64 now = host_ticks(), ticks = now - user_since_;
  if (current_ && ran_ && (ticks < shortest_turn_ || !shortest_turn_)) shortest_turn_ = ticks;
  if (current_) return current_->choice.ended(ticks, ran_, now);
  watched_->turns.add(ticks);
}

void DirectExecutor::left_kernel() {
  ran_ = false;
  if (!current_ && !watching_) return;
  user_since_ = host_ticks();
  if (!current_) return;
  elsewhere_ = !options_.always && !current_->choice.is_direct();
}

// ---- what a TLB is told --------------------------------------------------------------------------

void DirectExecutor::flush_all() {
  for (Space& space : spaces_) space.mappings->flush();
}

void DirectExecutor::flush_pcid(u64 pcid) {
  for (Space& space : spaces_)
    if ((space.cr3 & x86::cr3::pcid_mask) == pcid) space.mappings->flush();
}

void DirectExecutor::flush_page(u64 linear) {
  for (Space& space : spaces_) space.mappings->flush_page(linear);
}

void DirectExecutor::revoke_writes() {
  for (Space& space : spaces_) space.mappings->revoke_writes();
}

void DirectExecutor::revoke_writes(Gpa page) {
  for (Space& space : spaces_) space.mappings->revoke_writes(page);
}

void DirectExecutor::code_written(std::span<const u64> pages) {
  for (Space& space : spaces_) {
    for (const u64 page : pages) space.mappings->code_written(Gpa(page << page_shift));
    if (pages.empty()) space.mappings->code_written();
  }
}

// ---- running -------------------------------------------------------------------------------------

bool DirectExecutor::can_run() const {
  const auto& s = cpu_.s;
  constexpr u64 cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::wp | x86::cr0::em | x86::cr0::ts;
  constexpr u64 cr0_wanted = x86::cr0::pe | x86::cr0::pg | x86::cr0::wp;
  constexpr u64 cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave |
                      x86::cr4::fsgsbase;
  constexpr u64 efer = x86::efer::lma | x86::efer::nxe | x86::efer::sce;
  // What PTRACE_SETREGS lets be set, and what user code can see of the rest.
  constexpr u64 settable = rfl::arithmetic | rfl::df | rfl::nt | rfl::ac | rfl::rf;
  const auto selector = [&s](Seg seg) { return s.seg[static_cast<u8>(seg)].selector; };
  const auto base = [&s](Seg seg) { return s.seg[static_cast<u8>(seg)].base; };
  return (s.cr0 & cr0) == cr0_wanted && (s.cr4 & cr4) == cr4 && (s.efer & efer) == efer && cpu_.code64() &&
         cpu_.cpl_ == 3 && !cpu_.slow_ && !s.interrupt_shadow && !cpu_.resume_single_ &&
         selector(Seg::cs) == user_cs && selector(Seg::ss) == user_ss &&
         !(selector(Seg::ds) | selector(Seg::es) | selector(Seg::fs) | selector(Seg::gs)) &&
         std::max(base(Seg::fs), base(Seg::gs)) < UserProcess::user_end &&
         (cpu_.sysflags & ~settable) == (rfl::if_ | rfl::fixed1) &&
         (s.xcr0 & Fpu::host_components()) == Fpu::host_components();
}

void DirectExecutor::load_registers(user_regs_struct& r) const {
  for (unsigned n = 0; n < general_registers.size(); ++n) r.*general_registers[n] = cpu_.gpr[n];
  r.rip = cpu_.rip;
  r.eflags = cpu_.rflags() & ~rfl::rf;
  r.fs_base = cpu_.s.seg[static_cast<u8>(Seg::fs)].base;
  r.gs_base = cpu_.s.seg[static_cast<u8>(Seg::gs)].base;
}

Step DirectExecutor::store_registers(const user_regs_struct& r) {
  for (unsigned n = 0; n < general_registers.size(); ++n) cpu_.gpr[n] = r.*general_registers[n];
  cpu_.rip = r.rip;
  const auto base = [this](Seg seg, u64 value) {
    cpu_.s.seg[static_cast<u8>(seg)].base = cpu_.seg_base[static_cast<u8>(seg)] = value;
  };
  base(Seg::fs, r.fs_base);
  base(Seg::gs, r.gs_base);
  cpu_.frame.stack_key = TranslatedFrame::no_stack;
  const u64 flags = r.eflags & ~rfl::rf;
  if ((flags ^ cpu_.rflags()) & ~rfl::arithmetic)
    cpu_.set_rflags(flags);
  else
    cpu_.load_rflags(flags);
  if (r.cs != user_cs || (r.ds | r.es | r.fs | r.gs)) return load_selectors(r);
  return Step::branch;
}

/// User code loaded segment registers, from the host's descriptors: now from the guest's.
Step DirectExecutor::load_selectors(const user_regs_struct& r) {
  const Cpu::AllAtOnce whole(cpu_);
  const std::pair<Seg, u64> data[] = {{Seg::ds, r.ds}, {Seg::es, r.es}, {Seg::fs, r.fs}, {Seg::gs, r.gs}};
  for (const auto& [seg, selector] : data)
    if (selector && !cpu_.load_segment(seg, static_cast<u16>(selector))) return cpu_.failed();
  if (r.cs == user_cs) return Step::branch;
  Descriptor d;
  if (!read_descriptor(cpu_, static_cast<u16>(r.cs), d, x86::Vector::gp)) return cpu_.failed();
  if (!d.code() || !d.present()) return cpu_.raise(x86::Vector::gp, selector_error(static_cast<u16>(r.cs)));
  commit_code(cpu_, d.cache(static_cast<u16>(r.cs)), 3, r.rip);
  return Step::branch;
}

Step DirectExecutor::run() {
  Space& space = *current_;
  cpu_.fpu.park();
  pin_.hold(space.process->pid());
  space.mappings->update();
  space.mappings->may_slow_stops(options_.always || space.choice.turns_are_long());
  if (space.mappings->vanished() && !options_.always) {
    space.cr3 = no_space;
    current_ = nullptr;
    return Step::branch;
  }
  if (fill_ != no_fill) {
    ++counters.fills;
    if (!space.mappings->fill(fill_, fill_executes_)) held_ = true;
    fill_ = no_fill;
    space.mappings->update();  // pages that are executable now were perhaps writable
  }
  if (space.mappings->collides() || !space.process->apply()) {
    refuse();
    return Step::branch;
  }
  if (held_) {
    ++counters.held;
    return Step::branch;
  }
  if (!hand_over(*space.process)) return cpu_.fpu.lost() ? Step::branch : failed();
  user_regs_struct registers{};
  load_registers(registers);
  ++counters.entries;
  cpu_.direct_process_.store(space.process->pid(), std::memory_order_seq_cst);
  if (cpu_.frame.poll.load(std::memory_order_seq_cst)) {
    cpu_.direct_process_.store(0, std::memory_order_relaxed);
    return Step::branch;
  }
  const UserProcess::Stop stop = space.process->run(registers);
  cpu_.direct_process_.store(0, std::memory_order_relaxed);
  ran_ = true;
  if (stop.why == UserProcess::Why::lost) return failed();
  const Step st = store_registers(registers);
  if (st != Step::branch) return st;
  return stopped(stop);
}

/// The process is to have the x87 and vector registers. Mostly it has: system calls leave them alone.
bool DirectExecutor::hand_over(UserProcess& process) {
  Fpu& fpu = cpu_.fpu;
  if (fpu.is_with(process)) return true;
  const std::span<const u8> area = fpu.complete();
  if (fpu.lost() || !process.take_over(area)) return false;
  fpu.go_to(process);
  ++counters.hand_overs;
  return true;
}

Step DirectExecutor::stopped(const UserProcess::Stop& stop) {
  switch (stop.why) {
    case UserProcess::Why::kicked: ++counters.kicks; break;
    case UserProcess::Why::syscall:
      ++counters.syscalls;
      cpu_.rip -= 2;  // SYSCALL or INT 80h
      turn_ = true;
      break;
    case UserProcess::Why::signal:
      ++counters.traps;
      turn_ = true;
      trapped(stop);
      break;
    case UserProcess::Why::lost: break;
  }
  return Step::branch;
}

/// Where the host's exception was a trap, the instruction is behind us: it is the interpreter's to raise its own.
void DirectExecutor::trapped(const UserProcess::Stop& stop) {
  constexpr int general_protection = SI_KERNEL;
  if (stop.signal == SIGTRAP) return debug_trapped(stop.code);
  if (stop.signal != SIGSEGV) return;
  if (stop.code != general_protection)
    note_fill(stop.address);
  else if (preceded_by(0xcd, 0x04))
    cpu_.rip -= 2;  // INT 4: the host lets users call it
}

void DirectExecutor::note_fill(u64 address) {
  constexpr u64 longest_instruction = 15;
  fill_ = address;
  fill_executes_ = address - cpu_.rip <= longest_instruction;
}

void DirectExecutor::debug_trapped(int code) {
  if (code == TRAP_TRACE) {  // TF, which user code set
    turn_ = false;
    cpu_.add_debug_trap(x86::dr::dr6_bs);
  } else if (code == SI_KERNEL) {  // INT3, in one of its forms
    cpu_.rip -= preceded_by(0xcd, 0x03) ? 2 : 1;
  } else {
    cpu_.rip -= 1;  // INT1
  }
}

bool DirectExecutor::preceded_by(u8 first, u8 second) const {
  const u64 cr2 = cpu_.s.cr2;
  u8 a = 0, b = 0;
  const Cpu::AllAtOnce whole(cpu_);
  const bool read = cpu_.read(cpu_.rip - 2, a, Seg::ds) && cpu_.read(cpu_.rip - 1, b, Seg::ds);
  cpu_.s.cr2 = cr2;
  return read && a == first && b == second;
}

/// The process is gone, and the guest's registers with it: somebody killed it. That ends the VM. (If the vector
/// registers were there, too, Cpu::run() tells.)
Step DirectExecutor::failed() {
  current_ = nullptr;
  cpu_.fpu.fetch();
  if (!cpu_.fpu.lost()) log_error("vCPU {}: the process of its user code is gone", cpu_.id());
  return cpu_.leave_with(abi::ExitCode::vmx);
}

}  // namespace bhyve::soft
