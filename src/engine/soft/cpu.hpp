#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "base/address.hpp"
#include "base/types.hpp"
#include "engine/client.hpp"
#include "engine/exit.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/replay/fpu.hpp"
#include "engine/soft/runtime/bus_lock.hpp"
#include "engine/soft/runtime/tlb.hpp"
#include "engine/soft/system/cpu_model.hpp"
#include "engine/soft/system/pause_loop.hpp"
#include "engine/soft/translate/translated_state.hpp"
#include "engine/soft/translate/translator.hpp"
#include "engine/vcpu_state.hpp"
#include "mem/vmspace.hpp"
#include "x86/registers.hpp"

namespace bhyve::soft {

class BlockCache;
class DirectExecutor;
class ExecutorCheck;
class FormCache;
class SoftVm;
class StoreJournal;
struct Block;
struct BlockSecond;

/// An exception on its way to the guest.
struct Fault final {
  x86::Vector vector = x86::Vector::ud;
  bool has_error = false;
  u32 error = 0;
};

/// What kind of code runs: decides how bytes decode.
enum class CodeSize : u8 { bits16, bits32, bits64 };

/// Arithmetic flags as LAHF and SETO leave them: AH in the high byte, OF in bit 0 of the low byte.
/// The form that costs least to take from and to give to the host's flags.
using PackedFlags = u16;

/// One software CPU: the architectural state and everything that instruction handlers use. The class
/// is implemented by families: interp/ (integer instructions), system/ (privileged state, faults,
/// segmentation), replay/ (x87 to AVX-512), runtime/ (memory, TLB, walkers, run loop).
///
/// Everything here runs on the vCPU's own thread and is compiled for general registers only: the
/// guest's vector state may be live in the host's registers. Calling anything outside of
/// engine/soft (client, vmspace, libc's memcpy, Zydis) needs leave() first.
class Cpu final {
 public:
  Cpu(VcpuId id, SoftVm& vm, engine::Client& client);
  ~Cpu();
  /// A Cpu lies above a stack of its own, with a guard page below: translated code has its address
  /// in RSP, and what it calls pushes there (translate/host_code.hpp).
  static void* operator new(usize size);
  static void operator delete(void* p) noexcept;
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  // ---- registers (owner: the vCPU's thread) -------------------------------------------------
  /// What translated code uses most. First member: short displacements reach it.
  TranslatedFrame frame;
  /// 16 registers, then slot::zero, then slot::rip; `flags` follow: replay stubs use fixed offsets.
  std::array<u64, slot::count> gpr{};
  PackedFlags flags = 0;            ///< CF PF AF ZF SF OF
  u64 rip = 0;                      ///< of the next instruction, valid between blocks
  u64 sysflags = x86::rflags::fixed1;  ///< RFLAGS without the arithmetic flags
  std::array<u64, 9> seg_base{};    ///< cache of seg[].base; in 64-bit mode only FS, GS count; [8] = 0
  engine::VcpuState s;              ///< the rest; gpr, rip and rflags in it are stale while running

  template <class T>
  [[nodiscard]] T reg(u8 offset) const {
    return *reinterpret_cast<const T*>(reinterpret_cast<const u8*>(gpr.data()) + offset);
  }
  /// Writes a register operand; 32-bit writes clear the upper half (SDM vol. 1, 3.4.1.1).
  template <class T>
  void set_reg(u8 offset, T v) {
    u8* p = reinterpret_cast<u8*>(gpr.data()) + offset;
    if constexpr (sizeof(T) == 4)
      *reinterpret_cast<u64*>(p) = static_cast<u32>(v);
    else
      *reinterpret_cast<T*>(p) = v;
  }
  [[nodiscard]] u64& r(x86::Gpr g) { return gpr[static_cast<unsigned>(g)]; }

  /// RFLAGS as a whole.
  [[nodiscard]] u64 rflags() const;
  /// Sets RFLAGS (no privilege rules). Kicks the interrupt check when IF becomes 1.
  void set_rflags(u64 value);
  /// The same without what is derived from them: set_cpl() or update_mode() follows.
  void load_rflags(u64 value);
  [[nodiscard]] bool interrupts_enabled() const { return sysflags & x86::rflags::if_; }

  // ---- modes ------------------------------------------------------------------------------
  [[nodiscard]] unsigned cpl() const { return cpl_; }
  void set_cpl(unsigned cpl);
  [[nodiscard]] bool long_mode() const { return s.efer & x86::efer::lma; }
  [[nodiscard]] bool protected_mode() const { return s.cr0 & x86::cr0::pe; }
  [[nodiscard]] bool v86_mode() const { return sysflags & x86::rflags::vm; }
  [[nodiscard]] bool real_mode() const { return !protected_mode(); }
  [[nodiscard]] CodeSize code_size() const { return code_size_; }
  /// 32-bit code whose CS, SS, DS and ES all have the base 0, no limit and the usual rights.
  [[nodiscard]] bool flat32() const { return flat32_; }
  [[nodiscard]] bool code64() const { return code_size_ == CodeSize::bits64; }
  /// Stack-pointer width of the current SS in bytes: 2, 4 or 8.
  [[nodiscard]] unsigned stack_size() const { return stack_size_; }
  /// Recomputes everything derived from CR0, CR4, EFER, CS, SS, CPL, XCR0 and RFLAGS.AC/TF. Call
  /// after any change to them; the current block must end (Step::stop).
  void update_mode();
  /// Looks where the local APIC's page is now: it hides memory from this vCPU alone.
  void sync_apic_page();
  /// Drops all cached linear translations (CR3 load, CR0/CR4 changes ...).
  void flush_tlb(bool keep_global);
  void flush_tlb_page(Gva linear);
  /// Drops those of one process-context identifier, but for global pages.
  void flush_tlb_pcid(u64 pcid);
  /// CR3 was loaded; `keep`: what was cached under its PCID is still good (SDM vol. 3, 4.10.4.1).
  void new_address_space(bool keep);

  // ---- faults and exits ---------------------------------------------------------------------
  Step raise(x86::Vector v) { return raise(Fault{v, false, 0}); }
  Step raise(x86::Vector v, u32 error) { return raise(Fault{v, true, error}); }
  Step raise(const Fault& f) {
    fault_ = f;
    return failed_ = Step::fault;
  }
  /// #GP(0), the commonest.
  Step gp0() { return raise(x86::Vector::gp, 0); }
  Step ud() { return raise(x86::Vector::ud); }
  [[nodiscard]] const Fault& fault() const { return fault_; }
  [[nodiscard]] engine::Exit& exit_record() { return exit_; }
  Step leave_with(abi::ExitCode code) {
    exit_.code = code;
    return failed_ = Step::exit;
  }
  /// What to return after a memory access said false.
  [[nodiscard]] Step failed() const { return failed_; }

  // ---- memory -------------------------------------------------------------------------------
  /// Effective address (offset in the segment) of the memory operand.
  [[nodiscard]] u64 effective_address(const Insn& i) const;
  /// Linear address of `size` bytes of the memory operand, after segmentation. False: failed().
  [[nodiscard]] bool linear(const Insn& i, unsigned size, bool write, u64& la);
  /// Linear address of seg:offset for `size` bytes, with all checks of the current mode.
  [[nodiscard]] bool linear(x86::Seg seg, u64 offset, unsigned size, bool write, u64& la);

  /// Data access at a linear address with the current privilege. T is u8..u64. `seg` only chooses
  /// between #GP and #SS for non-canonical addresses. False: nothing done, return failed().
  template <class T>
  [[nodiscard]] bool read(u64 la, T& v, x86::Seg seg = x86::Seg::ds);
  template <class T>
  [[nodiscard]] bool write(u64 la, T v, x86::Seg seg = x86::Seg::ds);
  /// The memory operand of an instruction.
  template <class T>
  [[nodiscard]] bool load(const Insn& i, T& v);
  template <class T>
  [[nodiscard]] bool store(const Insn& i, T v);
  /// Implicit supervisor accesses (descriptor tables, TSS): CPL 0 whatever the current one is,
  /// SMAP applies regardless of AC.
  template <class T>
  [[nodiscard]] bool read_system(u64 la, T& v);
  template <class T>
  [[nodiscard]] bool write_system(u64 la, T v);
  /// Any number of bytes up to 4096; page-wise, all checked before the first byte is written.
  [[nodiscard]] bool read_bytes(u64 la, void* into, unsigned n, x86::Seg seg = x86::Seg::ds);
  [[nodiscard]] bool write_bytes(u64 la, const void* from, unsigned n,
                                 x86::Seg seg = x86::Seg::ds);
  /// Checks that n bytes (<= 4096) can be written, without writing. False: failed().
  [[nodiscard]] bool probe_write(u64 la, unsigned n, x86::Seg seg = x86::Seg::ds);
  /// Host address of n bytes at la if they are plain RAM in one page and may be read (written), else
  /// nullptr *with nothing raised*: use read_bytes/write_bytes then. For writing, nullptr also when
  /// the page holds code.
  [[nodiscard]] std::byte* direct(u64 la, unsigned n, bool write);
  /// Where the operand of a locked read-modify-write is.
  struct LockedOperand {
    std::byte* host = nullptr;    ///< nullptr: device memory
    std::byte* second = nullptr;  ///< the rest, when the operand crosses a cache line (BusLock)
    unsigned in_first = 0;        ///< bytes before that line
  };
  /// Finds n bytes (1..16) at la for it. False: failed().
  [[nodiscard]] bool locked_operand(u64 la, unsigned n, x86::Seg seg, LockedOperand& out);

  /// Translates for the CPU's own use (INVLPG needs none). Fills `out` with the guest-physical
  /// address; false: failed() (a page fault).
  [[nodiscard]] bool translate(u64 la, mem::Prot access, bool user, Gpa& out);
  /// Whether PAE paging is on (and not that of long mode): CR3 then means four PDPTE registers.
  [[nodiscard]] bool pae_paging() const {
    return s.cr0 & x86::cr0::pg && s.cr4 & x86::cr4::pae && !long_mode();
  }
  /// Loads the PDPTE registers from the table that `cr3` names (SDM vol. 3, 4.4.1). False: #GP(0)
  /// for reserved bits, and they are as before; or failed() has another reason.
  [[nodiscard]] bool load_pdptes(u64 cr3);

  // ---- stack --------------------------------------------------------------------------------
  /// Pushes one operand of `size` bytes (2, 4, 8). RSP changes only on success.
  [[nodiscard]] bool push(u64 value, unsigned size);
  /// Reads the operand at the top of the stack plus `skip` bytes without changing RSP.
  [[nodiscard]] bool peek(u64& value, unsigned size, u64 skip = 0);
  /// RSP += n in the width of the stack.
  void adjust_sp(i64 n);

  /// True when this very port or MSR access was already done outside (second execution after an
  /// exit): `value` (for reads) and `fault` have the caller's answer.
  [[nodiscard]] bool take_pio_answer(u16 port, unsigned size, Dir dir, u32& value);
  /// A port access that was done inside run(): not to be repeated should the rest of the
  /// instruction have to leave.
  void keep_pio_answer(u16 port, unsigned size, Dir dir, u32 value);
  [[nodiscard]] bool take_msr_answer(u32 number, Dir dir, u64& value, bool& fault);

  // ---- the world ----------------------------------------------------------------------------
  /// Gives the host's FPU back to C++ and returns the client.
  engine::Client& leave() {
    fpu.park();
    return client_;
  }
  [[nodiscard]] SoftVm& vm() { return vm_; }
  [[nodiscard]] FormCache& forms() { return *forms_; }  ///< of the decoder
  [[nodiscard]] VcpuId id() const { return id_; }
  [[nodiscard]] const CpuModel& model() const { return model_; }
  /// Host TSC turned into the guest's.
  [[nodiscard]] u64 guest_tsc() const;
  /// RDTSC and RDTSCP. False: an event is due before, the instruction is done after it.
  [[nodiscard]] bool read_clock(u64& tsc);
  /// Address of instruction `i` and of the one after it, wrapped to the code size.
  [[nodiscard]] u64 rip_of(const Insn& i) const { return gpr[17] + i.offset; }
  [[nodiscard]] u64 next_rip(const Insn& i) const {
    const u64 next = gpr[17] + i.offset + i.length;
    return code_size_ == CodeSize::bits64 ? next : next & ip_mask_;
  }
  /// Ends an instruction that changed the mode or the interrupt state: rip = next, Step::stop.
  Step finish(const Insn& i) {
    rip = next_rip(i);
    return Step::stop;
  }
  /// Asks the run loop to look for interrupts before the next block. Any thread.
  void request_check() noexcept {
    frame.poll.store(1, std::memory_order_seq_cst);
    if (direct_process_.load(std::memory_order_seq_cst)) [[unlikely]] kick_direct();
  }
  /// In run(). Any thread.
  [[nodiscard]] bool runs() const { return running_.load(std::memory_order_seq_cst); }
  BusLock::Member bus;  ///< guarded by the lock of SoftVm::bus
  /// EngineVcpu::generation_seen(). Any thread.
  [[nodiscard]] u64 generation_seen() const { return generation_seen_.load(); }
  /// Code epoch handshake with other vCPUs (runtime/soft_vm.hpp). Any thread.
  [[nodiscard]] bool passed_code_epoch(u64 epoch) const {
    return !runs() ||
           code_seen_.load(std::memory_order_seq_cst) >= epoch;
  }
  /// True when this vCPU holds no replay plan of a generation before `generation`, and will hold none
  /// (SoftVm::renew_stubs()). Any thread.
  [[nodiscard]] bool passed_stub_generation(u64 generation) const {
    return !runs() ||
           stubs_seen_.load(std::memory_order_seq_cst) >= generation;
  }
  /// The page holds decoded code and was written to: its translations end before this vCPU next
  /// leaves a loop. Any thread.
  void code_written(u64 page) noexcept;
  /// Interrupts are held off for one instruction (STI, MOV SS, POP SS).
  void set_interrupt_shadow() { s.interrupt_shadow = true; }
  /// MOV SS and POP SS: debug exceptions are held off too.
  void set_stack_shadow() { s.interrupt_shadow = debug_shadow_ = true; }
  /// The instruction is one after which TF makes no trap (INT n, task switches ...).
  void suppress_single_step() { step_suppressed_ = true; }
  /// A #DB with these DR6 bits is due before the next instruction.
  void add_debug_trap(u64 dr6_bits);
  /// A #DB that is delivered for another reason tells the one that is due, too.
  void join_debug_trap();
  /// Looks an I/O access up in the breakpoints (CR4.DE).
  void note_port(u16 port, unsigned size);

  // ---- implemented in system/ ---------------------------------------------------------------
  /// Delivers an exception or interrupt through the IDT with all checks, double and triple fault.
  /// Returns false on triple fault (exit record filled).
  enum class EventKind : u8 { exception, external, nmi, software_int, software_exception };
  [[nodiscard]] bool deliver(const Fault& f, EventKind kind, u64 return_rip);
  /// While it lives, accesses neither ask to start again nor leave run(): event delivery and task
  /// switches have no instruction to come back for. Device memory outside reads as ones.
  class AllAtOnce final {
   public:
    explicit AllAtOnce(Cpu& cpu) : cpu_(cpu), single_(cpu.single_), delivering_(cpu.delivering_) {
      cpu.single_ = cpu.delivering_ = true;
    }
    ~AllAtOnce() {
      cpu_.single_ = single_;
      cpu_.delivering_ = delivering_;
    }
    AllAtOnce(const AllAtOnce&) = delete;
    AllAtOnce& operator=(const AllAtOnce&) = delete;

   private:
    Cpu& cpu_;
    bool single_, delivering_;
  };
  /// Loads a data or stack segment register with all checks of the mode.
  [[nodiscard]] bool load_segment(x86::Seg seg, u16 selector);

  // ---- implemented in runtime/ --------------------------------------------------------------
  /// The run loop (EngineVcpu::run).
  void run(engine::Exit& exit);
  void store_state(engine::StateGroups groups, engine::VcpuState& out);
  void load_state(engine::StateGroups groups, const engine::VcpuState& in);

  TranslatedState translated;  ///< what translated code keeps in memory
  /// The host's FPU became the guest's, or C++'s, or the control registers changed: which vector
  /// instructions translated code may run.
  void update_gates();
  /// The mode, a capability or the events that wait changed: what translated code may do.
  void update_rights();
  /// A segment register changed: flat32(). What depends on CS and SS too is update_mode()'s.
  void update_segments();
  [[nodiscard]] bool has_flat_segments() const;

  Fpu fpu;  ///< x87 and vector state: live in the host, parked, or away (replay/fpu.hpp)

  /// Capabilities (facts sheet 4.1) as the vmm set them.
  bool invpcid_enabled = true, rdtscp_enabled = true, rdpid_enabled = true, pause_exit = false,
       bpt_exit = false;

  PauseLoop pause_loop;

  /// run() leaves after each instruction or delivered event: VM_CAP_MTRAP_EXIT with mtrap,
  /// VM_CAP_RFLAGS_TF with db. TF in the guest's RFLAGS stays the guest's own.
  struct StepExits {
    bool mtrap = false, tf = false;
    [[nodiscard]] bool any() const { return mtrap || tf; }
  };
  [[nodiscard]] const StepExits& step_exits() const { return step_exits_; }
  void set_step_exits(const StepExits& exits) {
    step_exits_ = exits;
    update_mode();
  }

  [[nodiscard]] const Translator::Counters& translator_counters() const {
    return translator_.counters;
  }
  /// nullptr: user code does not run directly.
  [[nodiscard]] const DirectExecutor* direct() const { return direct_.get(); }
  /// nullptr: what is translated is not checked.
  [[nodiscard]] const ExecutorCheck* check() const { return check_.get(); }

  /// An exception that the vmm injected, delivered at the next entry.
  bool injected = false;
  Fault injected_fault{};

  struct Counters {
    u64 blocks = 0, blocks_decoded = 0, blocks_recalled = 0, insns_decoded = 0, jump_cache_misses = 0, tlb_misses = 0,
        page_walks = 0, nested_faults = 0, faults = 0, interrupts = 0, nmis = 0, mmio = 0, pio = 0,
        code_writes = 0, replays = 0, fpu_switches = 0, cr_access = 0, cpuid = 0, rdmsr = 0,
        wrmsr = 0, callouts = 0, translated_misses = 0, bus_locks = 0;
  } counters;  ///< written by the vCPU's thread only; read as relaxed snapshots

 private:
  VcpuId id_;
  SoftVm& vm_;
  engine::Client& client_;
  const CpuModel& model_;
  unsigned cpl_ = 0;
  CodeSize code_size_ = CodeSize::bits16;
  u8 stack_size_ = 2;
  u64 ip_mask_ = 0xffff;
  Fault fault_{};
  Step failed_ = Step::fault;
  engine::Exit exit_{};

  // ---- runtime/: memory, blocks, run loop ---------------------------------------------------
  friend class PageWalker;
  friend class BlockCache;
  friend class Translator;
  friend class BlockEmitter;
  friend class ExecutorCheck;
  friend class DirectExecutor;
  friend class UserMappings;
  friend struct TranslatorHelpers;
  [[nodiscard]] bool read_slow(u64 la, unsigned size, u64& v, x86::Seg seg, bool system);
  [[nodiscard]] bool write_slow(u64 la, unsigned size, u64 v, x86::Seg seg, bool system);
  [[nodiscard]] bool check_linear(u64 la, unsigned size, x86::Seg seg, bool system);
  /// One page's worth of an access: host address, or device memory (host == nullptr).
  struct Place {
    std::byte* host = nullptr;
    Gpa gpa{};
    bool code = false;  ///< the page holds decoded code
  };
  [[nodiscard]] bool resolve(u64 la, mem::Prot access, bool system, Place& out);
  [[nodiscard]] bool read_place(const Place& p, unsigned size, u64& v);
  [[nodiscard]] bool write_place(const Place& p, unsigned size, u64 v);
  [[nodiscard]] bool mmio(Gpa gpa, unsigned size, u64& v, Dir dir);
  void page_fault(u64 la, u32 error);
  Tlb& tlb_for(bool system);

  /// Guest-physical page -> host, tied to the pmap generation (the nested walker's cache).
  [[nodiscard]] std::byte* nested(Gpa gpa, mem::Prot access, bool& failed);
  std::byte* nested_walk(Gpa gpa, mem::Prot access, bool& failed);

  [[nodiscard]] bool check_world();
  [[nodiscard]] bool take_event(const engine::Client::Pending& p);
  [[nodiscard]] Step step_one();
  // system/debug.cpp
  void note_access(u64 la, unsigned size, bool write);
  [[nodiscard]] u64 code_breakpoints() const;
  [[nodiscard]] Step deliver_debug(u64 dr6_bits);
  [[nodiscard]] bool debug_before(Step& st);
  [[nodiscard]] Step debug_after(Step st, bool stepped);
  [[nodiscard]] Step execute(const Block& b);
  // runtime/execution_trace.cpp
  void trace_block(const Block& b, unsigned insns);
  void trace_event(const Fault& f, EventKind kind, u64 return_rip);
  [[nodiscard]] bool settle(Step st);
  void give_way();
  void prepare_direct();
  void kick_direct() noexcept;
  /// What comes next is user code that runs directly.
  [[nodiscard]] bool direct_is_next() const;
  void begin_turn();
  void end_turn();
  void sync_world();
  void sync_stubs();
  [[nodiscard]] bool make_stub_room();
  void accept_answer(const engine::Exit& exit);
  void finish_code_writes();
  void drop_written_code();
  void new_code_mapping(bool keep_supervisor);
  void use_key();
  [[nodiscard]] u64 pcid() const { return s.cr4 & x86::cr4::pcide ? s.cr3 & x86::cr3::pcid_mask : 0; }
  void forget_other_spaces();
  void note_code(u64 la);
  /// Every store looks again whether its page may be written; or those to one guest-physical page.
  void revoke_writes();
  void revoke_writes(Gpa page);
  void note_writer(const Tlb& tlb, u64 la, Gpa page);
  [[nodiscard]] Block* find_block();
  [[nodiscard]] Block* find_block_slow();
  [[nodiscard]] bool trustworthy(Block& b, u64 la, const Place& p, bool& lasting);
  [[nodiscard]] Block* decode_block(u64 la, const Place& p);
  [[nodiscard]] Block* decode_crossing(u64 la, const Place& p);
  Block* publish_block(const Insn* insns, unsigned count, const u8* raw, unsigned available, Gpa gpa,
                       const BlockSecond* second);
  /// A block's instructions: its own, or decoded again into `buffer` (of Block::max_insns).
  [[nodiscard]] const Insn* instructions_of(const Block& b, Insn* buffer);
  void decode_again(const Block& b, Insn* buffer, unsigned count);
  /// The block has its instructions again. False: failed().
  [[nodiscard]] bool recall(Block& b);
  /// An instruction whose stub cannot be made now: its block is to be found again. Returns what follows.
  [[nodiscard]] Step begin_again(const Insn& i);
  /// One of them, valid until the next call.
  [[nodiscard]] const Insn& recall(const Block& b, unsigned n);
  u64 watch_page(Gpa gpa, u32& word);

  /// What is known of an address space whose user pages have a Tlb of their own. Supervisor accesses
  /// have one for all: only global pages outlive a change of the address space there.
  struct Space {
    u64 pcid = no_pcid;
    u64 key = 0;         ///< user_key_ while it is current
    u64 last_used = 0;
    std::array<u64, 64> code{};  ///< hashed pages of the lower half that code was found in
  };
  static constexpr u64 no_pcid = ~u64{0};
  static constexpr unsigned spaces = 6;  ///< as many as Linux uses
  std::array<Space, spaces> spaces_{};
  unsigned space_ = 0;                   ///< the current one
  u64 space_clock_ = 0;
  enum Context : u8 { supervisor_smap, supervisor_plain, user };
  std::array<Tlb, user + spaces> tlbs_;  ///< then `user` of each space
  /// By hashed guest-physical page: the one Tlb entry that allows to write it (1 + its number among those
  /// of all Tlbs), or `many`. What is noted may be gone.
  static constexpr unsigned writers = 4096;
  static constexpr u32 many_writers = ~u32{0};
  std::array<u32, writers> writers_{};
  Tlb never_hits_;      ///< chosen while every access needs a look
  struct NestedEntry {
    u64 read = 1, write = 1, exec = 1;  ///< guest-physical page when allowed
    std::byte* host = nullptr;
  };
  static constexpr unsigned nested_entries = 4096;
  std::array<NestedEntry, nested_entries> nested_;
  std::array<u64, 64> large_pages_{};  ///< hashed 2 MiB regions with fragments in the TLBs
  u64 huge_pages_ = 0;  ///< the same by GiB, for fragments of 4 MiB and 1 GiB pages
  u64 code_base_ = 0;   ///< of CS, outside of 64-bit mode, when the front cache was last valid
  u32 code_limit_ = 0;
  std::array<u64, 4> pdpte_{};         ///< with PAE paging
  bool pdptes_stale_ = false;          ///< CR3 came from outside: run() loads them
  u64 apic_page_ = engine::Client::no_page.value();
  static constexpr i32 clock_interval = 1 << 16;
  u64 clock_seen_ = 0;                 ///< host TSC when read_clock() last looked
  u64 generation_ = 0;                 ///< of the pmap, when caches were last valid
  u64 stale_generations_ = 0;          ///< the same: Pmap::stale_generations()
  std::unique_ptr<BlockCache> blocks_;
  std::unique_ptr<FormCache> forms_;
  Translator translator_;
  const bool translating_;             ///< hot code is translated
  std::unique_ptr<ExecutorCheck> check_;  ///< when both executors run everything
  std::unique_ptr<DirectExecutor> direct_;  ///< none: all code is translated or interpreted
  std::atomic<int> direct_process_{0};      ///< in which user code runs now; read by other threads
  StoreJournal* journal_ = nullptr;    ///< of slow stores while ExecutorCheck interprets
  u64 keys_ = 0;                       ///< mapping keys given out so far
  u64 supervisor_key_ = 0, user_key_ = 0;
  bool supervisor_private_ = false;    ///< the supervisor's key covers more than global high pages
  bool global_user_code_ = false;      ///< users may have run code in a global page
  u64 gates_cr0_ = 0, gates_cr4_ = 0, gates_xcr0_ = 0;  ///< that the gates were computed from
  /// Pages of code that somebody wrote to; guarded by its lock. More than fit: all are suspected.
  struct WrittenPages {
    std::mutex lock;
    std::array<u64, 64> page;
    unsigned count = 0;
    bool overflowed = false;
  } written_;
  bool flat32_ = false;                ///< see flat32()
  bool single_ = false;                ///< one instruction runs alone: it may store into code
  bool window_ = false;                ///< something waits for interrupts to be enabled
  bool awaiting_answer_ = false;       ///< the last exit asked the caller for an access
  bool resume_single_ = false;         ///< the next instruction was begun before an exit
  const Insn* current_ = nullptr;      ///< the instruction that ended the block
  StepExits step_exits_;
  bool slow_ = false;                  ///< single-step or breakpoints: one instruction at a time
  bool ac_ = false;                    ///< alignment is checked
  bool watching_ = false;              ///< a breakpoint watches data
  bool debug_shadow_ = false;          ///< the last instruction was MOV SS or POP SS
  bool step_suppressed_ = false;       ///< see suppress_single_step()
  u64 data_hits_ = 0;                  ///< breakpoints that the current instruction's accesses met
  u64 pending_debug_ = 0;              ///< DR6 bits of a #DB that is due at the next boundary
  bool delivering_ = false;            ///< an event is being delivered: no exits from inside
  std::array<u64, 2> late_code_writes_{no_page, no_page};  ///< pages that a locked store changes
  static constexpr u64 no_page = ~u64{0};

  /// Accesses of the current instruction that were done already, outside or inside run(): the
  /// instruction is executed again from its start and must not do them twice.
  struct Answer {
    enum class Kind : u8 { none, mmio, pio, msr } kind = Kind::none;
    Dir dir = Dir::read;
    u8 size = 0;
    bool fault = false;
    u64 address = 0;
    u64 value = 0;
  };
  static constexpr unsigned max_answers = 352;  ///< XSAVE of all to a device: 337 by 8 bytes
  std::array<Answer, max_answers> answers_{};
  unsigned answers_held_ = 0;
  unsigned answers_used_ = 0;
  bool take_answer(Answer::Kind kind, Dir dir, u64 address, unsigned size, Answer& out);
  void keep_answer(const Answer& a);
  void forget_answers() { answers_held_ = answers_used_ = 0; }

  std::atomic<bool> running_{false};   ///< in run(); read by other vCPUs
  std::atomic<u64> generation_seen_{0};  ///< of the pmap: no older translation is in use
  std::atomic<u64> code_seen_{0};      ///< code epoch whose flush this vCPU has done
  std::atomic<u64> stubs_seen_{0};     ///< generation of stubs since which blocks were made
};

}  // namespace bhyve::soft

#include "engine/soft/runtime/access.hpp"
