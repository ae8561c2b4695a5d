// From rip to decoded code.
#include <cstring>
#include <thread>

#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/decoder.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

using mem::Prot;
using x86::Seg;

namespace {

constexpr unsigned max_length = 15;

bool same_bytes(const u8* a, const std::byte* guest, unsigned n) {
  for (unsigned k = 0; k < n; ++k)
    if (a[k] != mem::ram_load<u8>(guest + k)) return false;
  return true;
}

}  // namespace

Block* Cpu::find_block() {
  if (Block* b = blocks_->quick(rip)) [[likely]] return b;
  return find_block_slow();
}

/// nullptr: a fault or an exit is pending, rip is where it belongs to.
Block* Cpu::find_block_slow() {
  ++counters.jump_cache_misses;
  u64 la = rip;
  if (code64()) {
    if (!x86::is_canonical(la)) {
      gp0();
      return nullptr;
    }
  } else {
    const x86::Segment& cs = s.seg[static_cast<u8>(Seg::cs)];
    if (rip > cs.limit) {
      gp0();
      return nullptr;
    }
    la = static_cast<u32>(cs.base + rip);
  }
  Place p;
  if (!resolve(la, Prot::exec, false, p)) return nullptr;
  if (!p.host) {  // no memory there: an idle bus reads as ones, which is no instruction
    ud();
    return nullptr;
  }
  bool lasting = true;
  Block* b = blocks_->find(p.gpa, code_size_);
  if (!b || !trustworthy(*b, la, p, lasting)) {
    b = decode_block(la, p);
    if (!b && failed_ == Step::repeat && make_stub_room()) b = decode_block(la, p);
    if (!b) return nullptr;
    lasting = b->armed && !b->crosses();
  }
  if (!code64()) {
    const u64 room = u64{s.seg[static_cast<u8>(Seg::cs)].limit} - rip;  // bytes after the first
    if (b->bytes - 1u > room) {  // some of it lies beyond the limit: instruction by instruction
      Insn buffer[Block::max_insns];
      if (instructions_of(*b, buffer)[0].length - 1u > room) {
        gp0();
        return nullptr;
      }
      if (!single_) {
        failed_ = Step::single;
        return nullptr;
      }
      lasting = false;
    }
  }
  note_code(la);
  if (b->crosses()) note_code(la + page_size);
  if (lasting) blocks_->remember(rip, b);
  return b;
}

/// Whether a block that was found may run: its second page must still be mapped there, and while
/// other vCPUs may hold old store-TLB entries its bytes are compared. `lasting`: it may be cached
/// by address.
bool Cpu::trustworthy(Block& b, u64 la, const Place& p, bool& lasting) {
  lasting = !b.crosses();
  if (b.crosses()) {
    const u64 boundary = (la & ~page_mask) + page_size;
    Place second;
    if (!resolve(boundary, Prot::exec, false, second)) return false;  // decoding faults again
    if (!second.host || second.gpa.value() != b.second().gpa) return false;
  }
  if (!b.armed) {
    // Asked before the bytes are compared: stores through old write tags are over by then.
    const bool passed = vm_.code_epoch_passed(vm_.whole_epoch(b.arm_epoch), *this);
    if (b.crosses() || !same_bytes(b.raw(), p.host, b.bytes)) return false;
    b.armed = lasting = passed;
  }
  return true;
}

/// Starts watching the page of `gpa`; returns the epoch that must pass before its code is trusted.
u64 Cpu::watch_page(Gpa gpa, u32& word) {
  vm_.begin_watch();
  const auto watch = vm_.space.code_pages().watch(gpa.page_number());
  word = watch.word;
  const bool begins = watch.is_new || vm_.others_watch();
  const u64 epoch = begins ? vm_.new_code_epoch(*this) : vm_.code_epoch();
  vm_.end_watch();
  if (epoch != code_seen_.load(std::memory_order_relaxed)) {
    // Nobody else began to watch a page since this vCPU last forgot its write tags: one page is enough.
    if (begins && epoch == code_seen_.load(std::memory_order_relaxed) + 1)
      revoke_writes(gpa.page());
    else
      revoke_writes();
    code_seen_.store(epoch, std::memory_order_seq_cst);
  }
  return epoch;
}

/// No stub could be made for an instruction. False: other vCPUs may still use what has to go; they
/// are asked to look up, and the instruction is begun again (Step::repeat).
bool Cpu::make_stub_room() {
  sync_stubs();
  const u64 full = stubs_seen_.load(std::memory_order_relaxed);
  vm_.renew_stubs(full, *this);
  if (vm_.stubs.generation() != full) return true;
  std::this_thread::yield();
  return false;
}

Step Cpu::begin_again(const Insn& i) {
  rip = rip_of(i);
  (void)make_stub_room();
  current_ = nullptr;
  request_check();
  return Step::branch;
}

Block* Cpu::publish_block(const Insn* insns, unsigned count, const u8* raw, unsigned available, Gpa gpa,
                          const BlockSecond* second) {
  const Insn& last = insns[count - 1];
  const unsigned bytes = last.offset + last.length;
  // Why an instruction is none is told by more bytes than it is said to have.
  const unsigned judged = available - last.offset < max_length ? available - last.offset : max_length;
  const unsigned tail = Decoder::refused(last) ? judged - last.length : 0;
  Block* b = blocks_->make(insns, count, raw, bytes, tail, second);
  b->gpa = gpa.value();
  b->code_size = code_size_;
  ++counters.blocks_decoded;
  counters.insns_decoded += count;
  return b;
}

const Insn* Cpu::instructions_of(const Block& b, Insn* buffer) {
  if (b.insns) return b.insns;
  decode_again(b, buffer, b.count);
  return buffer;
}

/// The first `count`, from the bytes that they were decoded from before.
void Cpu::decode_again(const Block& b, Insn* buffer, unsigned count) {
  fpu.park();
  ++counters.blocks_recalled;
  unsigned offset = 0;
  for (unsigned n = 0; n < count; ++n) {
    bool end;
    const auto st = Decoder::decode(*this, b.raw() + offset, unsigned{b.bytes} + b.tail - offset,
                                    static_cast<u16>(offset), buffer[n], end);
    if (st != Decoder::Status::ok) __builtin_trap();  // our own bug
    offset += buffer[n].length;
  }
}

bool Cpu::recall(Block& b) {
  if (b.insns) return true;
  Insn buffer[Block::max_insns];
  const Insn* insns = instructions_of(b, buffer);
  for (unsigned n = 0; n < b.count; ++n)
    if (insns[n].fn == no_stub_room) {
      (void)make_stub_room();
      failed_ = Step::repeat;
      return false;
    }
  blocks_->restore(b, insns);
  return true;
}

const Insn& Cpu::recall(const Block& b, unsigned n) {
  if (b.insns) return blocks_->keep_recalled(b, n, b.insns[n]);
  if (const Insn* known = blocks_->recalled(b, n)) return *known;
  Insn buffer[Block::max_insns];
  decode_again(b, buffer, n + 1);
  return blocks_->keep_recalled(b, n, buffer[n]);
}

Block* Cpu::decode_block(u64 la, const Place& p) {
  fpu.park();
  u32 word;
  const u64 epoch = watch_page(p.gpa, word);
  const bool armed = vm_.code_epoch_passed(epoch, *this);  // before the bytes are read
  u8 raw[Block::max_insns * max_length];
  const u64 room = page_size - (la & page_mask);
  const unsigned available = static_cast<unsigned>(room < sizeof raw ? room : sizeof raw);
  mem::ram_copy(raw, p.host, available);

  Insn insns[Block::max_insns];
  unsigned count = 0, bytes = 0;
  for (bool end = false; !end && count < Block::max_insns && bytes < available;) {
    const auto st = Decoder::decode(*this, raw + bytes, available - bytes,
                                    static_cast<u16>(bytes), insns[count], end);
    if (st == Decoder::Status::truncated) break;
    if (insns[count].fn == no_stub_room) {
      if (count) break;
      failed_ = Step::repeat;
      return nullptr;
    }
    bytes += insns[count++].length;
  }
  if (count == 0) return decode_crossing(la, p);

  Block* b = publish_block(insns, count, raw, available, p.gpa, nullptr);
  b->word = &vm_.space.code_pages().word(p.gpa.page_number());
  b->expected = word;
  b->arm_epoch = static_cast<u32>(epoch);
  b->armed = armed;
  blocks_->insert(b);
  return b;
}

/// One instruction that lies in two pages: a block of its own, checked against both.
Block* Cpu::decode_crossing(u64 la, const Place& first) {
  const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
  if (code64() && !x86::is_canonical(la + room)) {
    gp0();
    return nullptr;
  }
  Place second;
  if (!resolve(la + room, Prot::exec, false, second)) return nullptr;
  fpu.park();
  u32 word, word2;
  const u64 epoch1 = watch_page(first.gpa, word);
  const u64 epoch2 = second.host ? watch_page(second.gpa, word2) : (word2 = word, epoch1);
  const u64 epoch = epoch1 > epoch2 ? epoch1 : epoch2;
  const bool armed = vm_.code_epoch_passed(epoch, *this);
  u8 raw[2 * max_length];
  std::memset(raw, 0xff, sizeof raw);
  mem::ram_copy(raw, first.host, room < max_length ? room : max_length);
  if (second.host && room < max_length) mem::ram_copy(raw + room, second.host, max_length - room);

  Insn insn;
  bool end = true;
  if (Decoder::decode(*this, raw, max_length, 0, insn, end) == Decoder::Status::truncated) {
    gp0();  // longer than 15 bytes
    return nullptr;
  }
  if (insn.fn == no_stub_room) {
    failed_ = Step::repeat;
    return nullptr;
  }
  std::atomic<Block::Word>* const first_word = &vm_.space.code_pages().word(first.gpa.page_number());
  const BlockSecond rest{
      second.gpa.value(),
      second.host ? &vm_.space.code_pages().word(second.gpa.page_number()) : first_word, word2};
  Block* b = publish_block(&insn, 1, raw, max_length, first.gpa, &rest);
  b->word = first_word;
  b->expected = word;
  b->arm_epoch = static_cast<u32>(epoch);
  b->armed = armed;
  blocks_->insert(b);
  return b;
}

}  // namespace bhyve::soft
