// What follows from the control registers and the code segment, and flushing.
#include <sys/mman.h>

#include <new>

#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/form_cache.hpp"
#include "engine/soft/direct/direct_executor.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/system/debug.hpp"
#include "engine/soft/translate/executor_check.hpp"

namespace bhyve::soft {

namespace rflags = x86::rflags;
using x86::Seg;
using x86::Segment;

namespace {
constexpr usize stack_bytes = MiB;

bool is_unlimited(const Segment& s) {
  return s.limit == ~u32{0} && (s.access & Segment::present) && !(s.access & Segment::unusable);
}

/// Writable and not expand-down (SDM vol. 3, table 3-1).
bool is_flat_data(const Segment& s) {
  constexpr u32 writable = 2, expand_down = 4, code = 8;
  return is_unlimited(s) && (s.access & (writable | expand_down | code)) == writable;
}

usize mapping_bytes(usize object) { return page_size + stack_bytes + ((object + page_mask) & ~page_mask); }
}  // namespace

void* Cpu::operator new(usize size) {
  void* p = ::mmap(nullptr, mapping_bytes(size), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  ::mprotect(p, page_size, PROT_NONE);
  return static_cast<std::byte*>(p) + page_size + stack_bytes;
}

void Cpu::operator delete(void* p) noexcept {
  ::munmap(static_cast<std::byte*>(p) - page_size - stack_bytes, mapping_bytes(sizeof(Cpu)));
}

Cpu::Cpu(VcpuId id, SoftVm& vm, engine::Client& client)
    : fpu(*this), id_(id), vm_(vm), client_(client), model_(*vm.model),
      blocks_(std::make_unique<BlockCache>(vm.block_limit())), forms_(std::make_unique<FormCache>()),
      translator_(*this, vm.code_pool ? &*vm.code_pool : nullptr),
      translating_(translator_.usable()) {
  if (vm.translation.check && translating_) check_ = std::make_unique<ExecutorCheck>(*this);
  s.reset(false);
  new_code_mapping(false);
  load_state(engine::StateGroups::all, s);
}

Cpu::~Cpu() = default;

u64 Cpu::rflags() const {
  u64 v = sysflags | (flags >> 8 & 0xd5);
  if (flags & 1) v |= rflags::of;
  return v;
}

void Cpu::load_rflags(u64 value) {
  flags = static_cast<PackedFlags>((value & 0xd5) << 8 | (value >> 11 & 1));
  sysflags = (value & ~rflags::arithmetic) | rflags::fixed1;
  if (window_ && (sysflags & rflags::if_)) request_check();
}

void Cpu::set_rflags(u64 value) {
  load_rflags(value);
  update_mode();
}

void Cpu::set_cpl(unsigned cpl) {
  if (direct_ && (cpl == 3) != (cpl_ == 3)) cpl == 3 ? direct_->left_kernel() : direct_->entered_kernel();
  cpl_ = cpl;
  update_mode();
}

void Cpu::update_mode() {
  const Segment& cs = s.seg[static_cast<u8>(Seg::cs)];
  const Segment& ss = s.seg[static_cast<u8>(Seg::ss)];
  if (long_mode() && (cs.access & Segment::long_mode)) {
    code_size_ = CodeSize::bits64;
    stack_size_ = 8;
    ip_mask_ = ~u64{0};
  } else {
    // In real mode too: what protected mode loaded stays until CS is loaded anew there.
    const bool big = (cs.access & Segment::big) && !v86_mode();
    code_size_ = big ? CodeSize::bits32 : CodeSize::bits16;
    stack_size_ = ss.access & Segment::big ? 4 : 2;
    ip_mask_ = big ? 0xffff'ffff : 0xffff;
    if (cs.base != code_base_ || cs.limit != code_limit_) {  // rip means other bytes now
      code_base_ = cs.base, code_limit_ = cs.limit;
      new_code_mapping(false);
    }
  }
  for (unsigned n = 0; n < 6; ++n) seg_base[n] = s.seg[n].base;
  ac_ = cpl_ == 3 && (s.cr0 & x86::cr0::am) && (sysflags & rflags::ac);
  slow_ = step_exits_.any() || (sysflags & rflags::tf) || (s.dr7 & x86::dr::dr7_enables) ||
          pending_debug_;
  watching_ = (s.dr7 & x86::dr::dr7_enables) && watches_data(s.dr7);
  // With TF, string instructions stop after each iteration, as they do without direct access.
  const bool look = ac_ || watching_ || (sysflags & rflags::tf);
  Tlb* const tlb = look ? &never_hits_ : &tlb_for(false);
  if (tlb != frame.tlb) frame.stack_key = TranslatedFrame::no_stack;
  frame.tlb = tlb;
  translated.tlb_by_ac = {&tlbs_[s.cr4 & x86::cr4::smap ? supervisor_smap : supervisor_plain],
                          &tlbs_[supervisor_plain]};
  if (look) translated.tlb_by_ac.fill(&never_hits_);
  update_segments();
  use_key();
  if (((s.cr0 ^ gates_cr0_) | (s.cr4 ^ gates_cr4_) | (s.xcr0 ^ gates_xcr0_))) update_gates();
}

bool Cpu::has_flat_segments() const {
  const Segment &cs = s.seg[static_cast<u8>(Seg::cs)], &ss = s.seg[static_cast<u8>(Seg::ss)];
  constexpr u32 readable = 2;
  if (!is_unlimited(cs) || cs.base || !(cs.access & readable) || !(ss.access & Segment::big)) return false;
  for (const Seg seg : {Seg::ss, Seg::ds, Seg::es})
    if (!is_flat_data(s.seg[static_cast<u8>(seg)]) || s.seg[static_cast<u8>(seg)].base) return false;
  return true;
}

void Cpu::update_segments() {
  flat32_ = code_size_ == CodeSize::bits32 && has_flat_segments();
  update_rights();
}

void Cpu::update_rights() {
  const auto when = [](bool condition, Right right) { return condition ? static_cast<unsigned>(right) : 0u; };
  const auto flat = [this](Seg seg) { return flat32_ && is_flat_data(s.seg[static_cast<u8>(seg)]); };
  unsigned rights = when(flat(Seg::fs), Right::fs) | when(flat(Seg::gs), Right::gs);
  if (!check_) {  // else handlers do the others, once
    const bool supervisor = cpl_ == 0 && (code64() || flat32_);
    const bool tsc = cpl_ == 0 || !(s.cr4 & x86::cr4::tsd);
    const bool tscp = tsc && rdtscp_enabled && model_.has(CpuModel::Feature::rdtscp);
    rights |= when(supervisor, Right::supervisor) | when(supervisor && !window_, Right::interrupts) |
              when(supervisor && model_.has(CpuModel::Feature::smap), Right::smap) |
              when(tsc, Right::tsc) | when(tscp, Right::tscp);
  }
  frame.rights = static_cast<u8>(rights);
}

void Cpu::update_gates() {
  gates_cr0_ = s.cr0, gates_cr4_ = s.cr4, gates_xcr0_ = s.xcr0;
  frame.gates = 0;
  if (!fpu.live()) return;
  for (const Gate gate : {Gate::x87, Gate::sse, Gate::avx, Gate::avx512})
    if (gate_open(*this, gate)) frame.gates |= static_cast<u8>(bit(static_cast<u8>(gate)));
}

/// Linear addresses may mean other pages of code from now on: all, or only those that a supervisor
/// does not have in global pages of the upper half. A key combines with the address of a page by XOR:
/// 12 bits lie in the page's offset, 15 above canonical addresses' own.
void Cpu::new_code_mapping(bool keep_supervisor) {
  // A key with no bits in the page's offset could turn a page into the tag of an empty entry. And when
  // those bits come again, what was noted under them may not be met with addresses that differ above.
  if (((keys_ += 2) & page_mask) == 0) {
    translated.jumps.fill({});
    forget_other_spaces();
    keys_ += 2;
    keep_supervisor = false;
  }
  if (keys_ >= bit(27)) {  // once in a blue moon: old keys may be in use
    fpu.park();
    translator_.reset();
    keys_ = 2;
    keep_supervisor = false;
  }
  const auto key = [](u64 n) { return (n & page_mask) | n >> page_shift << 48; };
  user_key_ = spaces_[space_].key = key(keys_);
  spaces_[space_].code.fill(0);
  if (!keep_supervisor || supervisor_private_) {
    supervisor_key_ = key(keys_ + 1);
    supervisor_private_ = false;
  }
  use_key();
}

/// The keys of the current privilege and code size.
void Cpu::use_key() {
  // 32-bit code and 64-bit code at one address must not meet; bit 63 is in no key.
  frame.key = (cpl_ == 3 ? user_key_ : supervisor_key_) | (code64() ? 0 : bit(63));
  blocks_->set_key(frame.key | (u64{1} + static_cast<u8>(code_size_)) << page_shift);
}

/// Code was found at this linear address and will be found there again without a walk.
void Cpu::note_code(u64 la) {
  const bool high = la >> 63;
  if (!high) spaces_[space_].code[la >> 18 & 63] |= bit(la >> page_shift & 63);
  const Tlb::Detail& d = tlb_for(false).detail(la);
  const bool global = d.page == (la & ~page_mask) + 1 && d.global;
  if (global && (!high || cpl_ == 3)) global_user_code_ = true;
  if (cpl_ != 3 && (!high || !global)) supervisor_private_ = true;
}

void Cpu::forget_other_spaces() {
  for (unsigned k = 0; k < spaces; ++k) {
    if (k == space_ || spaces_[k].pcid == no_pcid) continue;
    spaces_[k].pcid = no_pcid;
    tlbs_[user + k].flush(false);
  }
}

void Cpu::flush_tlb(bool keep_global) {
  for (Tlb& t : tlbs_) t.flush(keep_global);
  frame.stack_key = TranslatedFrame::no_stack;
  if (!keep_global) large_pages_.fill(0), huge_pages_ = 0, global_user_code_ = false;
  forget_other_spaces();
  spaces_[space_].pcid = pcid();
  new_code_mapping(keep_global);
  if (direct_) {
    direct_->flush_all();
    direct_->address_space(s.cr3);
  }
}

void Cpu::flush_tlb_pcid(u64 which) {
  if (which == pcid()) return new_address_space(false);
  if (direct_) direct_->flush_pcid(which);
  for (unsigned k = 0; k < spaces; ++k) {
    if (spaces_[k].pcid != which) continue;
    spaces_[k].pcid = no_pcid;
    tlbs_[user + k].flush(false);
  }
}

void Cpu::new_address_space(bool keep) {
  const u64 wanted = pcid();
  if (direct_) {
    if (!keep) s.cr4 & x86::cr4::pcide ? direct_->flush_pcid(wanted) : direct_->flush_all();
    direct_->address_space(s.cr3);
  }
  unsigned k = 0, oldest = 0;
  while (k < spaces && spaces_[k].pcid != wanted) {
    if (spaces_[k].last_used < spaces_[oldest].last_used) oldest = k;
    ++k;
  }
  if (k == spaces) {
    k = oldest;
    tlbs_[user + k].flush(false);
    spaces_[k].pcid = wanted;
    keep = false;
  }
  space_ = k;
  spaces_[k].last_used = ++space_clock_;
  if (!keep) tlbs_[user + k].flush(true);
  tlbs_[supervisor_smap].flush(true);
  tlbs_[supervisor_plain].flush(true);
  if (keep && !supervisor_private_)
    user_key_ = spaces_[k].key;
  else
    new_code_mapping(true);
  update_mode();
  frame.stack_key = TranslatedFrame::no_stack;
}

void Cpu::flush_tlb_page(Gva linear) {
  const u64 la = linear.value();
  const u64 fragments =
      large_pages_[la >> 27 & 63] >> (la >> 21 & 63) | huge_pages_ >> (la >> 30 & 63);
  const bool large = fragments & 1;
  for (Tlb& t : tlbs_) {
    t.flush_page(la);
    if (large) t.flush_large(la);
  }
  frame.stack_key = TranslatedFrame::no_stack;
  if (direct_) direct_->flush_page(la);
  // Most pages that are flushed singly hold data.
  const bool high = la >> 63;
  const bool code = spaces_[space_].code[la >> 18 & 63] >> (la >> page_shift & 63) & 1;
  if (global_user_code_) forget_other_spaces();
  if (high || large || code) new_code_mapping(!high);
}

void Cpu::revoke_writes() {
  if (direct_) direct_->revoke_writes();
  for (Tlb& t : tlbs_) t.flush_writes();
  writers_.fill(0);
  frame.stack_key = TranslatedFrame::no_stack;
}

void Cpu::revoke_writes(Gpa page) {
  if (direct_) direct_->revoke_writes(page);
  u32& writer = writers_[page.page_number() & (writers - 1)];
  if (writer == many_writers) return revoke_writes();
  if (writer) tlbs_[(writer - 1) / Tlb::entries].drop_write((writer - 1) % Tlb::entries, page);
  writer = 0;
  frame.stack_key = TranslatedFrame::no_stack;
}

void Cpu::note_writer(const Tlb& tlb, u64 la, Gpa page) {
  u32& writer = writers_[page.page_number() & (writers - 1)];
  const u32 n = 1 + static_cast<u32>(&tlb - tlbs_.data()) * Tlb::entries + Tlb::index(la);
  writer = writer == 0 || writer == n ? n : many_writers;
}

/// Host threads that post events may be late; a guest that watches the clock would see that they are
/// (Linux's check of its timer does). The time is read first: all that was due by then is posted.
/// Looking once in a while is enough and costs nothing that can be measured.
bool Cpu::read_clock(u64& tsc) {
  tsc = guest_tsc();
  if (tsc - clock_seen_ < u64{clock_interval}) [[likely]] return true;
  clock_seen_ = tsc;
  leave().before_clock(id_);
  // Alone it runs in an interrupt shadow or under debugging, where nothing comes in between.
  return single_ || !interrupts_enabled() || !frame.poll.load(std::memory_order_seq_cst);
}

u64 Cpu::guest_tsc() const {
  // The guest's own ordering (LFENCE before RDTSC) is many host instructions away, and other vCPUs
  // compare: without a fence here time can seem to run backwards between them.
  asm volatile("lfence" ::: "memory");
  return __builtin_ia32_rdtsc() + s.tsc_offset;
}

}  // namespace bhyve::soft
