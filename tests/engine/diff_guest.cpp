#include "diff_guest.hpp"

#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

#include "test_modes.hpp"

namespace bhyve::test::diff {
namespace {

using engine::StateGroups;
using x86::Seg;
using x86::Segment;

// Guest-physical places. Tables for the window: one PD and two PTs.
constexpr u64 pml4 = 0x10'0000, pdpt = 0x10'1000, pd = 0x10'2000, pts = 0x10'3000;
constexpr u64 code_pa = 0x20'0000, data_pa = 0x30'0000;
constexpr u64 idt_pa = 0x40'0000, gdt_pa = 0x40'1000, tss_pa = 0x40'2000, handlers_pa = 0x40'3000,
              stack_pa = 0x40'4000;
// The same five pages, linear; supervisor only.
constexpr u64 system_la = window + 0x18'0000;
constexpr u64 system_pages = 5;
constexpr u64 linear_of(u64 pa) { return system_la + (pa - idt_pa); }

constexpr u64 vectors_used = 32, handler_size = 16;
constexpr u16 kernel_code = 0x08, kernel_data = 0x10, user_data = 0x1b, user_code = 0x23;

struct Frame {
  u64 rip, cs, rflags, rsp, ss;
};

}  // namespace

GuestCpu::GuestCpu(const Configuration& configuration, Mode mode)
    : mode_(mode), machine_(configuration, {}),
      data_hold_(machine_.space().hold(Gpa(data_pa), data_size, mem::Prot::rw)),
      memory_(reinterpret_cast<u8*>(data_hold_.contiguous()), usize{data_size}),
      last_(std::make_unique<engine::VcpuState>()) {
  if (!data_hold_.contiguous())
    throw std::runtime_error("guest memory is not contiguous in the host");
  make_tables();
  make_handlers();
  first_ = enter_long_mode(machine_, code, data);
  first_.cr3 = pml4;
  first_.cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave;
  first_.cr0 |= x86::cr0::mp | x86::cr0::wp;
  first_.xcr0 = components();
  first_.efer |= x86::efer::sce | x86::efer::nxe;
  first_.gdtr = {.base = linear_of(gdt_pa), .limit = 0x3f};
  first_.idtr = {.base = linear_of(idt_pa), .limit = vectors_used * 16 - 1};
  const bool kernel = mode == Mode::kernel64;
  const u32 flat = Segment::present | Segment::s | Segment::granular | (kernel ? 0 : 3u << 5);
  for (Seg s : {Seg::es, Seg::ss, Seg::ds, Seg::fs, Seg::gs})
    first_.seg[static_cast<usize>(s)] = {kernel ? kernel_data : user_data, flat | Segment::big | 3,
                                         0xffff'ffff, 0};
  first_.seg[static_cast<usize>(Seg::cs)] = {
      kernel ? kernel_code : user_code,
      flat | (mode == Mode::user32 ? Segment::big : Segment::long_mode) | 11, 0xffff'ffff, 0};
  if (mode == Mode::user16) {
    const u32 narrow = Segment::present | Segment::s | 3u << 5;
    for (usize s = 0; s < 6; ++s) first_.seg[s] = {user_data, narrow | 3, data_limit16, data};
    first_.seg[static_cast<usize>(Seg::cs)] = {user_code, narrow | 11, code_size - 1, code};
  }
  first_.seg[static_cast<usize>(Seg::tr)] = {0x28, Segment::present | 11, 0x67, linear_of(tss_pa)};
}

void GuestCpu::make_tables() {
  constexpr u64 all = x86::pte::p | x86::pte::rw | x86::pte::us;
  machine_.write_value(pml4, pdpt | all);
  machine_.write_value(pdpt + (window >> 30) * 8, pd | all);
  const auto map = [&](u64 la, u64 pa, u64 flags) {
    const u64 index = (la - window) >> page_shift;
    machine_.write_value(pts + index * 8, pa | flags | x86::pte::p);
  };
  for (u64 i = 0; i < window_size / superpage_size; ++i)
    machine_.write_value(pd + ((window >> 21 & 511) + i) * 8, (pts + i * page_size) | all);
  for (u64 a = 0; a < code_size; a += page_size) map(code + a, code_pa + a, x86::pte::us);
  for (u64 a = 0; a < data_size; a += page_size)
    map(data + a, data_pa + a, x86::pte::us | x86::pte::rw | x86::pte::nx);
  for (u64 a = 0; a < system_pages * page_size; a += page_size)
    map(system_la + a, idt_pa + a, x86::pte::rw);
}

void GuestCpu::make_handlers() {
  std::array<u8, code_size> ends;
  ends.fill(hlt);
  machine_.write(code_pa, ends);
  for (u64 v = 0; v < vectors_used; ++v) {
    const u64 entry = linear_of(handlers_pa) + v * handler_size;
    machine_.write_value(handlers_pa + v * handler_size, hlt);
    constexpr u64 interrupt_gate = 0x8e, ist1 = 1;
    machine_.write_value(idt_pa + v * 16, (entry & 0xffff) | u64{kernel_code} << 16 | ist1 << 32 |
                                              interrupt_gate << 40 | (entry >> 16 & 0xffff) << 48);
    machine_.write_value(idt_pa + v * 16 + 8, entry >> 32);
  }
  machine_.write_value(gdt_pa + 0x08, u64{0x00af'9b00'0000'ffff});
  machine_.write_value(gdt_pa + 0x18, u64{0x00cf'f300'0000'ffff});
  machine_.write_value(gdt_pa + 0x20, u64{0x00af'fb00'0000'ffff});
  constexpr u64 tss_ist1 = 36;
  machine_.write_value(tss_pa + tss_ist1, linear_of(stack_pa) + page_size);
  constexpr u64 tss_iomap = 102, no_map = 0x68;
  machine_.write_value(tss_pa + tss_iomap, static_cast<u16>(no_map));
}

void GuestCpu::load(const State& in) {
  first_.gpr = in.gpr;
  first_.rip = in.rip - code_base(mode_);
  first_.rflags = in.flags | x86::rflags::fixed1 | x86::rflags::if_;
  std::memcpy(first_.xsave.data(), in.vectors.data(), in.vectors.size());
  std::memset(first_.xsave.data() + vectors::xstate_bv, 0, 64);
  const u64 all = components();
  std::memcpy(first_.xsave.data() + vectors::xstate_bv, &all, sizeof all);
  machine_.vcpu(0).load(StateGroups::all, first_);
}

void GuestCpu::run(std::span<const u8> bytes, const State& in, After& out) {
  machine_.write(code_pa + (in.rip - code), code_text(bytes));
  load(in);
  engine::Exit exit;
  unsigned entries = 0;
  do machine_.vcpu(0).run(exit);
  while (exit.code == abi::ExitCode::bogus && ++entries < 1000);
  machine_.vcpu(0).store(StateGroups::gprs | StateGroups::control | StateGroups::fpu, *last_);
  const u64 handlers = linear_of(handlers_pa);
  if (mode_ == Mode::kernel64 && exit.code == abi::ExitCode::hlt &&
      last_->rip - in.rip - bytes.size() <= 1) {
    out.vector = After::none;
    out.error = out.cr2 = 0;
    out.state.gpr = last_->gpr;
    out.state.rip = in.rip + bytes.size();
    out.state.flags = last_->rflags;
    std::memcpy(out.state.vectors.data(), last_->xsave.data(), out.state.vectors.size());
    return;
  }
  if (exit.code != abi::ExitCode::hlt || last_->rip < handlers ||
      last_->rip >= handlers + vectors_used * handler_size)
    throw std::runtime_error(fmt::format("guest left with exit code {} at rip {:#x}",
                                         static_cast<u32>(exit.code), last_->rip));
  out.vector = static_cast<int>((last_->rip - handlers) / handler_size);
  const bool has_error = x86::has_error_code(static_cast<x86::Vector>(out.vector));
  constexpr u64 frame_at = stack_pa + page_size - sizeof(Frame);
  auto frame = machine_.read_value<Frame>(frame_at);
  frame.rip += code_base(mode_);
  out.error = has_error ? machine_.read_value<u64>(frame_at - 8) : 0;
  out.cr2 = out.vector == static_cast<int>(x86::Vector::pf) ? last_->cr2 : 0;
  if (out.vector == static_cast<int>(x86::Vector::gp) && frame.rip == in.rip + bytes.size())
    out.vector = After::none;
  out.state.gpr = last_->gpr;
  out.state.gpr[static_cast<usize>(x86::Gpr::rsp)] = frame.rsp;
  out.state.rip = frame.rip;
  out.state.flags = frame.rflags;
  std::memcpy(out.state.vectors.data(), last_->xsave.data(), out.state.vectors.size());
}

}  // namespace bhyve::test::diff
