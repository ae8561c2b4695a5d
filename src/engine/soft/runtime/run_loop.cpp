// The run loop: blocks, events, and what ends run().
#include <span>

#include "base/log.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/form_cache.hpp"
#include "engine/soft/direct/direct_executor.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/executor_check.hpp"

namespace bhyve::soft {

namespace rflags = x86::rflags;
using engine::Client;

void Cpu::run(engine::Exit& exit) {
  accept_answer(exit);
  s.halted = false;
  prepare_direct();
  begin_turn();
  sync_apic_page();
  if (pdptes_stale_) {
    pdptes_stale_ = false;
    const AllAtOnce whole(*this);
    if (pae_paging() && !load_pdptes(s.cr3)) pdpte_ = {};
  }
  update_rights();
  frame.poll.store(1, std::memory_order_relaxed);
  for (;;) {
    if (check_ && check_->turn_is_over()) [[unlikely]] {
      end_turn();
      begin_turn();
      request_check();
    }
    if (frame.poll.load(std::memory_order_relaxed) && !s.interrupt_shadow && !resume_single_)
        [[unlikely]] {
      if (!check_world()) break;
    }
    Step st;
    if (slow_ || s.interrupt_shadow || resume_single_) [[unlikely]] {
      st = step_one();
      if (step_exits_.any()) {
        if (settle(st))
          leave_with(step_exits_.mtrap ? abi::ExitCode::mtrap : abi::ExitCode::db);
        break;
      }
    } else if (direct_is_next()) {
      current_ = nullptr;
      st = direct_->run();
    } else {
      const bool turn = direct_ && direct_->takes_turn();
      Block* b = find_block();
      current_ = nullptr;
      if (!b) {
        st = failed_;
      } else if (!turn && translating_ && translator_.arrived(*b)) {
        st = check_ ? check_->run(*b) : translator_.run();
      } else {
        st = b->insns || recall(*b) ? execute(*b) : failed_;
      }
    }
    if (st == Step::branch) [[likely]] continue;
    if (!settle(st)) break;
  }
  end_turn();
  if (fpu.lost()) [[unlikely]] {
    log_error("vCPU {}: the process of its user code is gone, with registers of the guest", id_);
    leave_with(abi::ExitCode::vmx);
  }
  if (vm_.trace) [[unlikely]] vm_.trace->flush();
  exit_.rip = rip;
  switch (exit_.code) {
    case abi::ExitCode::inst_emul:
    case abi::ExitCode::inout:
    case abi::ExitCode::rdmsr:
    case abi::ExitCode::wrmsr: awaiting_answer_ = true; break;
    // The instruction may have accessed devices before it met the page.
    case abi::ExitCode::paging: awaiting_answer_ = answers_held_ != 0; break;
    default: break;
  }
  exit = exit_;
}

/// From here on this vCPU executes instructions.
void Cpu::begin_turn() {
  if (check_) vm_.turns.take();
  running_.store(true, std::memory_order_seq_cst);
  give_way();
  translator_.share_cache();
  sync_world();
}

void Cpu::end_turn() {
  running_.store(false, std::memory_order_seq_cst);
  fpu.fetch();  // other threads may look at it
  if (direct_) direct_->rest();
  if (vm_.bus.wanted()) [[unlikely]] vm_.bus.left();
  if (check_) vm_.turns.end();
}

/// Tracing is a thread's affair, and the thread may be another than last time.
void Cpu::prepare_direct() {
  if (!vm_.nursery || (direct_ && direct_->is_ours())) return;
  direct_ = std::make_unique<DirectExecutor>(*this, *vm_.nursery,
                                             DirectExecutor::Options{vm_.always_direct, model_.tsc_hz()});
}

void Cpu::kick_direct() noexcept {
  if (const int process = direct_process_.exchange(0, std::memory_order_seq_cst)) UserProcess::kick(process);
}

bool Cpu::direct_is_next() const {
  return cpl_ == 3 && direct_ && direct_->due() && direct_->can_run();
}

Step Cpu::execute(const Block& b) {
  ++counters.blocks;
  gpr[17] = rip;
  if (vm_.trace) [[unlikely]] trace_block(b, b.count);
  const Insn* i = b.insns;
  Step st;
  do {
    st = i->fn(*this, *i);
    ++i;
  } while (st == Step::next);
  current_ = i - 1;
  return st;
}

/// Executes the instruction at rip alone. Only here may it touch devices or store into code; and
/// only here are the answers to its earlier accesses looked at.
Step Cpu::step_one() {
  const bool shadow = s.interrupt_shadow, debug_shadow = debug_shadow_;
  const bool stepped = sysflags & rflags::tf, resumed = resume_single_;
  current_ = nullptr;
  resume_single_ = false;
  if (Step due; !debug_shadow && !resumed && debug_before(due)) return due;
  s.interrupt_shadow = debug_shadow_ = step_suppressed_ = false;
  single_ = true;
  Block* b = find_block();
  single_ = false;
  if (b && !recall(*b)) b = nullptr;
  if (!b) {
    if (failed_ == Step::repeat) {  // not even decoded: as if this step had not been
      s.interrupt_shadow = shadow;
      debug_shadow_ = debug_shadow;
      resume_single_ = resumed;
    }
    return failed_;
  }
  const u64 resume_flag = s.dr7 & x86::dr::dr7_enables ? rflags::rf : sysflags & rflags::rf;
  sysflags &= ~rflags::rf;
  data_hits_ = 0;
  gpr[17] = rip;
  if (vm_.trace) [[unlikely]] trace_block(*b, 1);
  const Insn& i = b->insns[0];
  current_ = &i;
  answers_used_ = 0;
  single_ = true;
  Step st = i.fn(*this, i);
  single_ = false;
  finish_code_writes();
  if (st == Step::next) {
    rip = next_rip(i);
    st = Step::branch;
  }
  if (st == Step::exit && exit_.code != abi::ExitCode::hlt) {
    s.interrupt_shadow = shadow;
    debug_shadow_ = debug_shadow;
    sysflags |= resume_flag;  // its breakpoint has had its chance
    return st;
  }
  forget_answers();
  if (st == Step::fault) {
    pending_debug_ = 0;
    return st;
  }
  if (st == Step::repeat) {
    rip = rip_of(i);
    if (slow_) sysflags |= rflags::rf;  // what interrupts it must not find its breakpoint again
  }
  // Of MOV SS in a row only the first holds events off.
  if (debug_shadow && debug_shadow_) s.interrupt_shadow = debug_shadow_ = false;
  return debug_after(st, stepped);
}

/// Acts on what a block or an instruction came to. False: leave run().
bool Cpu::settle(Step st) {
  if (current_ && st != Step::stop && st != Step::branch &&
      !(st == Step::exit && exit_.code == abi::ExitCode::hlt))
    rip = rip_of(*current_);
  switch (st) {
    case Step::next:
    case Step::branch:
    case Step::repeat:
      return true;
    case Step::stop:
      if (window_ && interrupts_enabled()) request_check();
      // RF only matters to breakpoints.
      if (!(s.dr7 & x86::dr::dr7_enables)) sysflags &= ~rflags::rf;
      return true;
    case Step::fault: {
      ++counters.faults;
      forget_answers();
      // General detect is a fault; instruction breakpoints do not come this way.
      if (fault_.vector == x86::Vector::db) sysflags |= rflags::rf;
      return deliver(fault_, EventKind::exception, rip);
    }
    case Step::single: {
      const Step alone = step_one();
      if (alone == Step::single) return false;
      return settle(alone);
    }
    case Step::exit:
      exit_.inst_length = current_ ? current_->length : 0;
      return false;
  }
  return false;
}

void Cpu::give_way() {
  if (!vm_.bus.wanted()) [[likely]] return;
  fpu.park();
  vm_.bus.give_way(*this);
}

void Cpu::sync_world() {
  const u64 generation = vm_.space.pmap().generation();
  if (generation != generation_) {
    generation_ = generation;
    if (const u64 stale = vm_.space.pmap().stale_generations(); stale != stale_generations_) {
      stale_generations_ = stale;
      for (NestedEntry& e : nested_) e = NestedEntry{};
      flush_tlb(false);
    }
    generation_seen_.store(generation);
  }
  const u64 epoch = vm_.code_epoch();
  if (epoch != code_seen_.load(std::memory_order_relaxed)) {
    revoke_writes();
    code_seen_.store(epoch, std::memory_order_seq_cst);
  }
  sync_stubs();
}

/// Between blocks: forgets decoded code whose replay plans may go when the next generation begins.
void Cpu::sync_stubs() {
  const u64 generation = vm_.stubs.generation();
  if (generation == stubs_seen_.load(std::memory_order_relaxed)) return;
  fpu.park();
  translator_.reset();
  blocks_->clear();
  forms_->clear();
  current_ = nullptr;
  stubs_seen_.store(generation, std::memory_order_seq_cst);
}

/// Somebody asked this vCPU to look up. False: leave run().
bool Cpu::check_world() {
  frame.poll.exchange(0, std::memory_order_seq_cst);
  if (fpu.lost()) [[unlikely]] return false;
  give_way();
  drop_written_code();
  sync_world();
  if (injected) {
    injected = false;
    if (!deliver(injected_fault, EventKind::exception, rip)) return false;
  }
  const Client::Pending p = leave().pending(id_);
  if (p.leave) {
    exit_.code = abi::ExitCode::bogus;
    exit_.inst_length = 0;
    request_check();
    return false;
  }
  return take_event(p);
}

bool Cpu::take_event(const Client::Pending& p) {
  window_ = p.nmi || p.interrupt;
  update_rights();
  bool ok = true;
  if (p.nmi && !s.nmi_blocked) {
    leave().accept_nmi(id_);
    ++counters.nmis;
    s.nmi_blocked = true;
    ok = deliver({x86::Vector::nmi, false, 0}, EventKind::nmi, rip);
  } else if (p.interrupt && interrupts_enabled()) {
    const int vector = leave().accept_interrupt(id_);
    if (vector >= 0) {
      ++counters.interrupts;
      if (direct_ && cpl_ == 3) direct_->interrupted_user();
      ok = deliver({static_cast<x86::Vector>(vector), false, 0}, EventKind::external, rip);
    }
  } else {
    return true;
  }
  if (interrupts_enabled()) request_check();
  return ok;
}

void Cpu::code_written(u64 page) noexcept {
  {
    const std::lock_guard guard(written_.lock);
    if (written_.count < written_.page.size())
      written_.page[written_.count++] = page;
    else
      written_.overflowed = true;
  }
  request_check();
}

void Cpu::drop_written_code() {
  if (!translating_) return;
  std::array<u64, 64> page;
  unsigned count;
  bool all;
  {
    const std::lock_guard guard(written_.lock);
    count = written_.count;
    all = written_.overflowed;
    for (unsigned n = 0; n < count; ++n) page[n] = written_.page[n];
    written_.count = 0;
    written_.overflowed = false;
  }
  if (!count) return;
  fpu.park();
  if (direct_) direct_->code_written(std::span(page.data(), all ? 0 : count));
  if (all) return translator_.reset();
  for (unsigned n = 0; n < count; ++n) translator_.page_written(page[n]);
}

void Cpu::finish_code_writes() {
  for (u64& page : late_code_writes_) {
    if (page == no_page) continue;
    vm_.space.code_pages().written(page);
    ++counters.code_writes;
    page = no_page;
  }
}

// ---- answers: accesses that the restarted instruction must not repeat -------------------------

bool Cpu::take_answer(Answer::Kind kind, Dir dir, u64 address, unsigned size, Answer& out) {
  if (answers_used_ >= answers_held_) return false;
  const Answer& a = answers_[answers_used_];
  if (a.kind != kind || a.dir != dir || a.address != address || a.size != size) {
    forget_answers();
    return false;
  }
  ++answers_used_;
  out = a;
  return true;
}

void Cpu::keep_answer(const Answer& a) {
  if (answers_held_ == max_answers) return;
  answers_[answers_held_++] = a;
  answers_used_ = answers_held_;
}

bool Cpu::take_pio_answer(u16 port, unsigned size, Dir dir, u32& value) {
  Answer a;
  if (!take_answer(Answer::Kind::pio, dir, port, size, a)) return false;
  if (dir == Dir::read) value = static_cast<u32>(a.value);
  return true;
}

void Cpu::keep_pio_answer(u16 port, unsigned size, Dir dir, u32 value) {
  if (single_) keep_answer({Answer::Kind::pio, dir, static_cast<u8>(size), false, port, value});
}

bool Cpu::take_msr_answer(u32 number, Dir dir, u64& value, bool& fault) {
  Answer a;
  if (!take_answer(Answer::Kind::msr, dir, number, 8, a)) return false;
  if (dir == Dir::read) value = a.value;
  fault = a.fault;
  return true;
}

/// The caller comes back from an exit: its answer joins those of the instruction.
void Cpu::accept_answer(const engine::Exit& exit) {
  if (!awaiting_answer_) return;
  awaiting_answer_ = false;
  if (exit.code != exit_.code || rip != exit_.rip) {
    forget_answers();
    return;
  }
  resume_single_ = true;
  switch (exit.code) {
    case abi::ExitCode::inst_emul:
      keep_answer({Answer::Kind::mmio, exit_.mmio.write ? Dir::write : Dir::read, exit_.mmio.size,
                   false, exit_.mmio.gpa.value(), exit.mmio.data});
      break;
    case abi::ExitCode::inout:
      keep_answer({Answer::Kind::pio, exit_.inout.in ? Dir::read : Dir::write, exit_.inout.bytes,
                   false, exit_.inout.port, exit.inout.eax});
      break;
    case abi::ExitCode::rdmsr:
    case abi::ExitCode::wrmsr:
      keep_answer({Answer::Kind::msr,
                   exit.code == abi::ExitCode::rdmsr ? Dir::read : Dir::write, 8, exit.msr.fault,
                   exit_.msr.number, exit.msr.value});
      break;
    case abi::ExitCode::paging: break;
    default: resume_single_ = false; break;
  }
}

}  // namespace bhyve::soft
