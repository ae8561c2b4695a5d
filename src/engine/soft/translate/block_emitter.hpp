#pragma once
#include <array>
#include <vector>

#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/translate/block_windows.hpp"
#include "engine/soft/translate/guest_insn.hpp"
#include "engine/soft/translate/host_code.hpp"
#include "engine/soft/translate/translated_state.hpp"
#include "engine/soft/translate/translator.hpp"

namespace bhyve::soft {

/// Translates one block: hot code, and in another place the cold paths that its checks lead to.
/// Implemented by families: block_emitter_flags, _memory, _operands, _stack, _branch.
class BlockEmitter final {
 public:
  explicit BlockEmitter(Translator& translator);

  /// Emits everything. `plain`: each access is checked on its own. False: no room in the code cache
  /// (full()), or the stub of an instruction cannot be made now.
  [[nodiscard]] bool run(Block& block, bool plain);
  [[nodiscard]] bool full() const { return c_.overflowed() || other_.overflowed(); }

  [[nodiscard]] usize bytes() const { return c_.size(); }
  [[nodiscard]] usize cold_bytes() const { return other_.size(); }
  std::vector<CodePlace> places;  ///< of each instruction; then the end
  u8* second_page_tag = nullptr;  ///< see TranslationRecords::Crossing
  /// As they are kept, in the order of their numbers.
  [[nodiscard]] std::vector<CodeExit> exits() const;

 private:
  // ---- block_emitter_flags.cpp: the arithmetic flags are in the host's register, in memory, both or dead
  void save_flags();
  void restore_flags();
  /// The host's flags are about to be overwritten; `live` tells which the guest still needs.
  void clobber_flags(u8 live);
  /// The next host instruction takes the guest's flags.
  void flags_to_host(u8 needed);
  /// `scratch_busy`: s0 and s1 hold something.
  void flags_to_host_busy(u8 needed);

  // ---- block_emitter_memory.cpp
  /// The memory operand's effective address in host registers; parts that have none go to s0 and s1.
  [[nodiscard]] HostMem operand(const Insn& i);
  /// s0 = the memory operand, of the size of a stack operand.
  void load_operand(const GuestInsn& g);
  /// lea with the width of addresses, and load and store with that of stack operands: the upper half of a
  /// 32-bit register becomes 0.
  void lea_word(u8 reg, const HostMem& m) { c_.rm(0x8d, reg, m, !code32_); }
  void load_word(u8 reg, const HostMem& m) { c_.rm(0x8b, reg, m, !code32_); }
  void store_word(const HostMem& m, u8 reg) { c_.rm(0x89, reg, m, !code32_); }
  void move_rsp(i32 bytes) { lea_word(host::guest_rsp, {host::guest_rsp, bytes}); }
  /// s0 = linear address of the memory operand.
  void address(const Insn& i);
  /// s0 = linear address -> [s0 + s1] is the operand in host memory, or the slow path runs.
  void check(const GuestInsn& g, unsigned size, bool write);
  void find_entry();
  /// s0 is an offset: leaves for `cold` where it is `end` or more. Returns the place of the jump. With
  /// cpu.speculation=safe, s0 is 0 behind it wherever a processor runs past the jump nevertheless.
  [[nodiscard]] u8* leave_unless_below(u32 end);
  /// Whether the access lies in a window. The window's check comes with its first access and may leave
  /// to a plain translation; flags that are still needed are in memory after that.
  [[nodiscard]] bool windowed(const GuestInsn& g, const BlockWindows::Access& a);
  void check_window(const GuestInsn& g, const BlockWindows::Access& a);
  /// The windowed operand in host memory; its index is s1.
  [[nodiscard]] HostMem in_window(const BlockWindows::Access& a);
  [[nodiscard]] unsigned number(const GuestInsn& g) const {
    return static_cast<unsigned>(&g - g_.data());
  }
  [[nodiscard]] BlockWindows::Access operand_access(const GuestInsn& g) const {
    return plain_ ? BlockWindows::Access{} : windows_.operand(number(g));
  }
  [[nodiscard]] BlockWindows::Access stack_access(const GuestInsn& g) const {
    return plain_ ? BlockWindows::Access{} : windows_.stack(number(g));
  }
  void load_page(u8 reg) { c_.load(reg, state(page_)); }

  // ---- block_emitter_operands.cpp
  void emit_copy(const GuestInsn& g);
  void emit_plain(const GuestInsn& g);
  void emit_move_imm(const GuestInsn& g);
  void emit_bswap(const GuestInsn& g);
  void emit_lea(const GuestInsn& g);
  struct Fields;
  void encode(const GuestInsn& g, const Fields& f);
  void encode_legacy(const GuestInsn& g, const Fields& f);
  void encode_vector(const GuestInsn& g, const Fields& f);
  void encode_modrm(const GuestInsn& g, const Fields& f);
  /// True: the interpreter may come in here and return behind the instruction.
  bool gate_check(const GuestInsn& g);
  void record_x87(const GuestInsn& g);

  // ---- block_emitter_stack.cpp
  /// Where the stack's operand is, looked up or in a window: `disp` from RSP (RBP for LEAVE).
  [[nodiscard]] HostMem stack_operand(const GuestInsn& g, i32 disp, bool write);
  void emit_push(const GuestInsn& g);
  void emit_push_memory(const GuestInsn& g);
  void emit_pop(const GuestInsn& g);
  void emit_leave(const GuestInsn& g);
  void emit_ret(const GuestInsn& g);
  void emit_call(const GuestInsn& g);
  void load_return_address(const GuestInsn& g);

  // ---- block_emitter_system.cpp
  /// Without the right the handler does the instruction. The guest's flags are in memory then.
  void need_right(const GuestInsn& g, Right right);
  /// RFLAGS but the arithmetic flags, with a mask: op::and_ or op::or_.
  void change_sysflags(unsigned alu, u32 mask);
  void emit_cli(const GuestInsn& g);
  void emit_sti(const GuestInsn& g);
  void emit_stac(const GuestInsn& g);
  void emit_swapgs(const GuestInsn& g);
  void emit_rdtsc(const GuestInsn& g);
  void emit_pushf(const GuestInsn& g);

  // ---- block_emitter_branch.cpp
  void emit_jump_cond(const GuestInsn& g);
  void emit_jump_indirect(const GuestInsn& g);
  void emit_call_indirect(const GuestInsn& g);
  /// s0 = target of an indirect branch.
  void load_target(const GuestInsn& g);
  /// s0 = target of an indirect branch -> s0 = its page, s1 = twice its index in jumps, or the
  /// interpreter executes `g`.
  void look_up(const GuestInsn& g);
  void jump_to_entry();
  void poll_here(const GuestInsn& g);
  /// Leaves to `target`, counted from the start of the page.
  void emit_exit(i64 target, bool backward, bool flags_wanted);

  // ---- block_emitter.cpp
  void begin(Block& block, bool plain);
  void analyse();
  void emit(const GuestInsn& g);
  void emit_callout(const GuestInsn& g);
  [[nodiscard]] static bool uses_fs_gs(const GuestInsn& g);
  void emit_cold();
  [[nodiscard]] u8* place_tag(u8* reference);
  [[nodiscard]] u8 live_at(i64 target);
  [[nodiscard]] i64 offset_of(const GuestInsn& g) const { return start_ + g.insn->offset; }
  [[nodiscard]] i64 offset_after(const GuestInsn& g) const {
    return offset_of(g) + g.insn->length;
  }
  [[nodiscard]] i64 target_of(const GuestInsn& g) const {
    return offset_after(g) + static_cast<i64>(g.insn->imm);
  }

  [[nodiscard]] static HostMem state(i32 offset) { return {host::cpu, offset}; }
  [[nodiscard]] HostMem home(u8 guest) const { return {host::cpu, gpr_ + guest * 8}; }
  [[nodiscard]] const u8* writable(const u8* executable) const {
    return t_.cache().writable(executable);
  }
  /// Jump to a thunk.
  void jump_thunk(const u8* thunk) { c_.jump(writable(thunk)); }

  /// A way out, in writable addresses.
  struct Exit {
    u8* jump = nullptr;      ///< rel32 to patch
    u8* tag = nullptr;       ///< rel32 to 8 bytes that page and key are compared with, then these; or none
    u8* unlinked = nullptr;  ///< where `jump` leads without a link
    u32 page_offset = 0;     ///< of the target
    bool plain = false;      ///< to a plain translation
  };
  [[nodiscard]] u32 new_exit() {
    exits_.emplace_back();
    return static_cast<u32>(exits_.size() - 1);
  }
  /// reg = address of a copy of the instruction that is kept with the code.
  void load_insn(u8 reg, const Insn& insn);
  void place_insns();

  /// A path beside the hot code.
  struct Cold {
    enum class Kind : u8 {
      missed, callout, exit, exit_flags, poll, poll_here, stack_missed, plain, jump_missed
    } kind;
    u8* from = nullptr;      ///< rel32 that leads here
    u8* retry = nullptr;     ///< where the hot path looks again
    u8* back = nullptr;      ///< where the hot path goes on
    const GuestInsn* g = nullptr;
    bool write = false;
    bool restore = false;    ///< the hot path goes on with flags in the host's register
    u8 size = 0;
    u32 exit = 0;
    i32 room = 0;            ///< the last offset in a page at which a window fits
    i64 target = 0;
  };
  void emit_cold(Cold& cold);
  void emit_cold_call(const Cold& cold, const u8* thunk, u32 pushed);
  /// Where an exit leads while it has no link: to C++.
  void emit_unlinked(u32 exit);
  /// The link part of an exit: to a place in this page or, checked, in another.
  void emit_link(i64 target, u32 exit);
  /// s0 = linear address of the page `distance` bytes from this one.
  void load_other_page(i64 distance);
  /// Compares s0 combined with the key with 8 bytes whose rel32 is returned.
  [[nodiscard]] u8* compare_tag();
  /// The instruction goes on in another page: which must be the one that it was translated from.
  void check_second_page();
  /// Notes for open cold paths of this instruction where the hot path goes on.
  void close_cold();

  Translator& t_;
  Block* b_ = nullptr;
  HostCode c_, other_;          ///< of hot code; of cold paths, until those are emitted
  i64 start_ = 0;               ///< of the block in its page
  u8 live_behind_ = flag::all;  ///< flags that are needed behind the block
  std::vector<GuestInsn> g_;
  BlockWindows windows_;
  u8 held_ = BlockWindows::none;  ///< window whose addend is in s1
  std::vector<Cold> cold_;
  std::vector<Exit> exits_;
  struct KeptInsn {
    u8* reference;  ///< rel32 that is to lead to it
    const Insn* insn;
  };
  std::vector<KeptInsn> kept_;
  std::array<Insn, Block::max_insns> recalled_;
  usize open_ = 0;              ///< cold paths from here on belong to the current instruction
  bool in_host_ = false, in_memory_ = true;  ///< where valid flags are
  u8 open_gates_ = 0;           ///< gates that were looked at since the last callout
  bool bmi2_;
  bool mask_;                   ///< cpu.speculation=safe
  bool plain_ = false;
  bool code32_ = false;         ///< addresses and stack operands have four bytes
  i32 page_, key_, tlb_, flags_, poll_, gates_, rights_, linear_, stack_key_, stack_addend_, slot_,
      temporary_, zero_, gpr_, jumps_;
};

}  // namespace bhyve::soft
