#include "fuzz/executor_machine.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bhyve::fuzz {
namespace {

using engine::VcpuState;
using x86::Seg;
using x86::Segment;

constexpr u64 pml4 = 0x1000, pdpt = 0x2000, pd = 0x3000, pt = 0x9000, dir32 = 0xa000,
              table32 = 0xb000, gdt = 0x6000, tss64 = 0x7000, tss32 = 0x7400, idt64 = 0xc000,
              idt32 = 0xe000;
constexpr u16 k_code64 = 0x08, k_data = 0x10, u_code32 = 0x1b, u_data = 0x23, u_code64 = 0x2b,
              k_code32 = 0x30, k_code16 = 0x38, k_data16 = 0x40, u_code16 = 0x4b, u_data16 = 0x53,
              tr_selector = 0x58;
constexpr unsigned vectors = 256, handler_size = 16;

class Image final {
 public:
  explicit Image(std::vector<u8>& bytes) : bytes_(bytes) {}
  template <class T>
  void put(u64 at, T v) {
    std::memcpy(bytes_.data() + at, &v, sizeof v);
  }

 private:
  std::vector<u8>& bytes_;
};

/// Rights and frame of a page by its number; the entry is the same in both formats but for NX.
u64 page_entry(u64 page) {
  constexpr u64 device = 0xf000'0000;
  switch (page) {
    case 0x18:
    case 0x1e:
      return 0;  // missing
    case 0x19:
      return page << page_shift | 5;  // read-only
    case 0x1a:
      return page << page_shift | 3;  // the supervisor's
    case 0x1b:
    case 0x1c:
      return (device + (page - 0x1b) * page_size) | 7;
    default:
      return page << page_shift | (page < 0x10 ? 3 : 7);
  }
}

void build_paging(Image& m) {
  m.put<u64>(pml4, pdpt | 7);
  m.put<u64>(pdpt, pd | 7);
  m.put<u64>(pd, pt | 7);
  m.put<u32>(dir32, table32 | 7);
  for (u64 page = 0; page < at::memory >> page_shift; ++page) {
    m.put<u64>(pt + page * 8, page_entry(page) | (page == 0x1d ? x86::pte::nx : 0));
    m.put<u32>(table32 + page * 4, static_cast<u32>(page_entry(page)));
  }
}

void build_descriptors(Image& m) {
  constexpr std::array<u64, 11> entries{0,
                                        0x00af'9b00'0000'ffff,
                                        0x00cf'9300'0000'ffff,
                                        0x00cf'fb00'0000'ffff,
                                        0x00cf'f300'0000'ffff,
                                        0x00af'fb00'0000'ffff,
                                        0x00cf'9b00'0000'ffff,
                                        0x0000'9b01'0000'ffff,
                                        0x0000'9301'0000'ffff,
                                        0x0000'fb01'0000'ffff,
                                        0x0000'f301'0000'ffff};
  for (u64 n = 0; n < entries.size(); ++n) m.put(gdt + n * 8, entries[n]);
  for (u64 v = 0; v < vectors; ++v) {
    const u64 entry = at::handlers + v * handler_size;
    m.put<u8>(entry, 0xf4);                      // HLT
    m.put<u32>(v * 4, static_cast<u32>(entry));  // IVT: 0000:entry
    m.put<u64>(idt64 + v * 16, entry | u64{k_code64} << 16 | 0xee00ull << 32);
    m.put<u64>(idt32 + v * 8, entry | u64{k_code32} << 16 | 0xee00ull << 32);
  }
  m.put<u64>(tss64 + 4, at::kernel_stack);
  m.put<u32>(tss32 + 4, at::kernel_stack);
  m.put<u16>(tss32 + 8, k_data);
  m.put<u16>(tss64 + 102, 0x68);
  m.put<u16>(tss32 + 102, 0x88);  // below it: the redirection bitmap of VME, half of it ones
  for (u64 n = 0; n < 32; ++n) m.put<u8>(tss32 + 0x68 + n, n & 1 ? 0xff : 0);
}

std::vector<u8> build_memory() {
  std::vector<u8> bytes(at::memory);
  Image m(bytes);
  u64 x = 0x1234'5678'9abc'def1;
  for (u64 a = at::data; a < 0x2'0000; a += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    m.put<u64>(a, x & 0x100 ? at::data + (x & 0x3ff8) : x);
  }
  for (u64 a = at::code; a < at::code + at::code_size; ++a) m.put<u8>(a, 0xf4);
  build_paging(m);
  build_descriptors(m);
  return bytes;
}

std::unique_ptr<engine::Engine> make_engine(mem::Vmspace& space, Executor executor) {
  engine::CpuConfig config;
  config.executor = executor == Executor::translated ? "translate" : "interp";
  config.translate_after = 1;
  config.code_cache = 4 * MiB;
  return std::move(soft::make_soft_engine(space, config, 1).value());
}

u64 answer_of(u64 what) {
  return (what + 1) * 0x9e37'79b9'7f4a'7c15;
}

}  // namespace

engine::Client::Access Devices::mmio(VcpuId, Gpa gpa, unsigned size, u64& value, Dir dir) {
  const bool outside = gpa.value() & 0x1000;
  if (!outside || dir == Dir::write)
    note(gpa.value() ^ u64{size} << 56 ^ (dir == Dir::read ? 0 : value));
  if (dir == Dir::read) value = answer_of(gpa.value());
  return outside ? Access::exit : Access::done;
}

engine::Client::Access Devices::pio(VcpuId, u16 port, unsigned size, u32& value, Dir dir) {
  const bool outside = port & 1;
  if (!outside) note(port ^ u64{size} << 56 ^ (dir == Dir::read ? 0 : u64{value} << 16));
  if (dir == Dir::read) value = static_cast<u32>(answer_of(port));
  return outside ? Access::exit : Access::done;
}

engine::Client::Access Devices::msr(VcpuId, u32 number, u64& value, Dir dir) {
  note(number ^ (dir == Dir::read ? 0 : value));
  if (dir == Dir::read) value = answer_of(number);
  return number & 1 ? Access::fault : Access::done;
}

Machine::Machine(Executor executor)
    : executor_(executor), after_(std::make_unique<VcpuState>()), pristine_(build_memory()) {
  space_ = std::move(mem::Vmspace::create({.lowmem = at::memory}).value());
  engine_ = make_engine(*space_, executor);
  vcpu_ = std::move(engine_->create_vcpu(0, devices_).value());
  if (executor == Executor::steps) vcpu_->set_capability(abi::Capability::mtrap_exit, true);
  if (!space_->write(Gpa(0), pristine_)) std::abort();
  hold_ = space_->hold(Gpa(0), at::memory, mem::Prot::read);
  if (!hold_.contiguous()) std::abort();
  memory_ = std::span(reinterpret_cast<const u8*>(hold_.contiguous()), usize{at::memory});
}

u64 Machine::counter(std::string_view text) const {
  u64 found = 0;
  vcpu_->statistics([&](std::string_view name, u64 value) {
    if (name == text) found = value;
  });
  return found;
}

/// Only what differs is written: translations of code that stays the same outlive the run.
void Machine::restore(std::span<const u8> code) {
  std::array<u8, page_size> page;
  for (u64 a = 0; a < at::memory; a += page_size) {
    std::memcpy(page.data(), pristine_.data() + a, page_size);
    for (u64 n = 0; n < code.size(); ++n)
      if (at::code + n - a < page_size) page[at::code + n - a] = code[n];
    if (std::memcmp(page.data(), memory_.data() + a, page_size) != 0 &&
        !space_->write(Gpa(a), page))
      std::abort();
  }
}

/// Plays the part of the machine's devices after an exit. False: not an exit of that kind.
bool Machine::answer(engine::Exit& exit) {
  switch (exit.code) {
    case abi::ExitCode::inout:
      devices_.note(exit.inout.port | u64{exit.inout.bytes} << 32 | u64{exit.inout.in} << 40);
      if (exit.inout.in)
        exit.inout.eax = static_cast<u32>(answer_of(exit.inout.port));
      else
        devices_.note(exit.inout.eax);
      return true;
    case abi::ExitCode::inst_emul:
      devices_.note(exit.mmio.gpa.value() | u64{exit.mmio.size} << 48);
      if (!exit.mmio.write)
        exit.mmio.data = answer_of(exit.mmio.gpa.value());
      else
        devices_.note(exit.mmio.data);
      return true;
    case abi::ExitCode::mtrap:
    case abi::ExitCode::pause:
      return true;
    default:
      return false;
  }
}

/// Whether the next instruction's outcome depends on time or chance, or has a flag that the host
/// leaves otherwise in the translator's form than in the interpreter's (diff_known.txt: ROL, ROR by
/// an immediate).
bool Machine::unpredictable() const {
  vcpu_->store(engine::StateGroups::gprs | engine::StateGroups::segments, *after_);
  const Segment& cs = after_->seg[static_cast<u8>(Seg::cs)];
  const u64 la =
      cs.access & Segment::long_mode ? after_->rip : static_cast<u32>(cs.base + after_->rip);
  if (la + 16 > at::memory) return false;
  const u8* p = memory_.data() + la;
  const u8* const end = p + 12;
  const auto prefix = [&](u8 b) {
    return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x2e ||
           b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65 ||
           ((cs.access & Segment::long_mode) && (b & 0xf0) == 0x40);
  };
  while (p < end && prefix(*p)) ++p;
  if (p[0] == 0xc0 || p[0] == 0xc1) return (p[1] & 0x30) == 0;
  if (p[0] != 0x0f) return false;
  const bool tsc = p[1] == 0x31 || (p[1] == 0x01 && p[2] == 0xf9);
  const bool msrs = p[1] == 0x30 || p[1] == 0x32, random = p[1] == 0xc7 && p[2] >= 0xf0;
  return tsc || msrs || random;
}

Ending Machine::run(const VcpuState& state, std::span<const u8> code, u64 max_steps) {
  restore(code);
  devices_.reset();
  devices_.allow(max_steps + 10'000);
  vcpu_->load(engine::StateGroups::all, state);
  const u64 faults = counter("vm exits due to exceptions");
  Ending ending;
  engine::Exit exit;
  for (;; ++ending.steps) {
    if (executor_ == Executor::steps) {
      if (ending.steps == max_steps) break;
      if (unpredictable()) {
        ending.kind = Ending::Kind::unpredictable;
        break;
      }
    }
    vcpu_->run(exit);
    if (answer(exit)) continue;
    if (exit.code == abi::ExitCode::hlt)
      ending.kind = Ending::Kind::halted;
    else if (exit.code == abi::ExitCode::suspended)
      ending.kind = Ending::Kind::triple_fault;
    else if (exit.code != abi::ExitCode::bogus) {
      std::fprintf(stderr, "exit %u at %#llx\n", static_cast<unsigned>(exit.code),
                   static_cast<unsigned long long>(exit.rip));
      ending.kind = Ending::Kind::strange;
    }
    break;
  }
  ending.faults = counter("vm exits due to exceptions") - faults;
  vcpu_->store(engine::StateGroups::all, *after_);
  return ending;
}

namespace {

/// Registers: pointers into the data, near its ends, or anything.
u64 some_value(u64& seed) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  constexpr std::array<u64, 8> borders{0,           1,           0x7f,    0xff,
                                       0x7fff'ffff, 0x8000'0000, ~u64{0}, 1ull << 63};
  switch (seed >> 60) {
    case 0:
    case 1:
      return borders[seed >> 8 & 7];
    case 2:
      return seed;
    case 3:
      return seed & 0xffff;
    case 4:
      return (at::odd_pages + (seed >> 8 & 0x7000)) - (seed & 15);
    default:
      return at::data + (seed >> 8 & 0x3ff8) + (seed & 0x70 ? 0 : seed & 7);
  }
}

void set_data_segments(VcpuState& s, u16 selector, u32 access, u32 limit) {
  for (const Seg which : {Seg::es, Seg::ss, Seg::ds, Seg::fs, Seg::gs})
    s.seg[static_cast<u8>(which)] = {selector, access, limit, 0};
}

void protected_segments(VcpuState& s, Mode mode) {
  const bool user = mode == Mode::user64 || mode == Mode::compat32 || mode == Mode::compat16;
  const bool narrow = mode == Mode::compat16 || mode == Mode::protected16;
  const u32 flat =
      Segment::present | Segment::s | (user ? 3u << 5 : 0) | (narrow ? 0 : Segment::granular);
  const u32 limit = narrow ? 0xffff : 0xffff'ffff;
  set_data_segments(s,
                    narrow ? (user ? u_data16 : k_data16)
                    : user ? u_data
                           : k_data,
                    flat | 3 | (narrow ? 0 : Segment::big), limit);
  u16 selector = user ? u_code64 : k_code64;
  if (narrow) selector = user ? u_code16 : k_code16;
  if (mode == Mode::compat32) selector = u_code32;
  if (mode == Mode::flat32) selector = k_code32;
  s.seg[static_cast<u8>(Seg::cs)] = {selector,
                                     flat | 11 |
                                         (is_64(mode) ? Segment::long_mode
                                          : narrow    ? 0
                                                      : Segment::big),
                                     limit, 0};
  if (!narrow) return;
  for (unsigned n = 0; n < 6; ++n) s.seg[n].base = at::code;  // data at 4000h, code at 0
  s.rip = 0;
}

void real_segments(VcpuState& s, bool v86) {
  const u32 access = Segment::present | Segment::s | 3 | (v86 ? 3u << 5 : 0);
  set_data_segments(s, 0x1000, access, 0xffff);
  for (unsigned n = 0; n < 6; ++n) s.seg[n].base = 0x1'0000;
  s.seg[static_cast<u8>(Seg::cs)] = {0x1000, access, 0xffff, 0x1'0000};
  s.rip = 0;
}

}  // namespace

VcpuState first_state(Mode mode, u64 seed) {
  VcpuState s;
  s.reset(false);
  seed |= 1;
  for (u64& r : s.gpr) r = some_value(seed);
  const bool narrow = mode == Mode::real || mode == Mode::v86 || mode == Mode::protected16 ||
                      mode == Mode::compat16;
  if (!is_64(mode))
    for (u64& r : s.gpr) r = narrow && seed & 8 ? r & 0xffff : r & 0xffff'ffff;
  s.gpr[4] = mode == Mode::real || mode == Mode::v86 ? 0x7ff0 : narrow ? 0xfff0 : at::user_stack;
  s.rip = at::code;
  s.rflags = x86::rflags::fixed1 | (seed & 0x8d5) | (seed >> 20 & 1) << 10;
  s.gdtr = {gdt, 0x67};
  s.xcr0 = 7;
  if (mode == Mode::real) {
    real_segments(s, false);
    s.idtr = {0, 0x3ff};
    return s;
  }
  protected_segments(s, mode);
  const bool wide = is_64(mode) || mode == Mode::compat32 || mode == Mode::compat16;
  s.seg[static_cast<u8>(Seg::tr)] = {tr_selector, 11u | Segment::present, wide ? 0x67u : 0x88u,
                                     wide ? tss64 : tss32};
  s.idtr = wide ? x86::TableRegister{idt64, vectors * 16 - 1}
                : x86::TableRegister{idt32, vectors * 8 - 1};
  s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::wp | x86::cr0::mp;
  s.cr4 = x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave;
  if (mode == Mode::v86) {
    real_segments(s, true);
    s.rflags |= x86::rflags::vm | (seed >> 21 & 1 ? x86::rflags::iopl : 0);
    if (seed >> 22 & 1) s.cr4 |= x86::cr4::vme;
  }
  if (mode == Mode::protected16) return s;
  s.cr0 |= x86::cr0::pg;
  s.cr3 = wide ? pml4 : dir32;
  if (!wide) return s;
  s.cr4 |= x86::cr4::pae | x86::cr4::fsgsbase | x86::cr4::pge;
  s.efer = x86::efer::lme | x86::efer::lma | x86::efer::sce | x86::efer::nxe;
  return s;
}

}  // namespace bhyve::fuzz
