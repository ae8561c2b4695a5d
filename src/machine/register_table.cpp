#include "machine/register_table.hpp"

#include <array>

namespace bhyve::machine {
namespace {

using engine::StateGroups;
using engine::VcpuState;
using x86::Gpr;
using x86::Seg;

constexpr u64 any = ~u64{0}, low16 = 0xffff, low32 = 0xffff'ffff;
constexpr u64 rflags_writable = x86::rflags::arithmetic | x86::rflags::fixed1 | x86::rflags::tf |
                                x86::rflags::if_ | x86::rflags::df | x86::rflags::iopl |
                                x86::rflags::nt | x86::rflags::rf | x86::rflags::vm |
                                x86::rflags::ac | x86::rflags::vif | x86::rflags::vip |
                                x86::rflags::id;
/// CR4 bits of features that no guest is given (VMX, SMX, protection keys, CET) stay out of reach.
constexpr u64 cr4_writable = 0x37'0fff;

template <Gpr reg>
constexpr NamedRegister gpr(std::string_view name) {
  return {name, StateGroups::gprs,
          [](const VcpuState& s) { return s.gpr[static_cast<usize>(reg)]; }, any,
          [](VcpuState& s, u64 v) { s.gpr[static_cast<usize>(reg)] = v; }};
}

template <u64 VcpuState::*member>
constexpr NamedRegister field(std::string_view name, StateGroups group, u64 writable) {
  return {name, group, [](const VcpuState& s) { return s.*member; }, writable,
          [](VcpuState& s, u64 v) { s.*member = v; }};
}

template <usize n>
constexpr NamedRegister debug(std::string_view name) {
  return {name, StateGroups::debug, [](const VcpuState& s) { return s.dr[n]; }, any,
          [](VcpuState& s, u64 v) { s.dr[n] = v; }};
}

template <Seg seg>
constexpr NamedRegister selector(std::string_view name) {
  return {name, StateGroups::segments,
          [](const VcpuState& s) { return u64{s.seg[static_cast<usize>(seg)].selector}; }, low16,
          [](VcpuState& s, u64 v) { s.seg[static_cast<usize>(seg)].selector = static_cast<u16>(v); }};
}

template <Seg seg>
constexpr NamedRegister base(std::string_view name) {
  return {name, StateGroups::segments,
          [](const VcpuState& s) { return s.seg[static_cast<usize>(seg)].base; }, any,
          [](VcpuState& s, u64 v) { s.seg[static_cast<usize>(seg)].base = v; }};
}

constexpr StateGroups control = StateGroups::control, msrs = StateGroups::msrs;
constexpr std::array table{
    field<&VcpuState::efer>("efer", control, x86::efer::defined),
    field<&VcpuState::cr0>("cr0", control, x86::cr0::defined),
    field<&VcpuState::cr2>("cr2", control, any),
    field<&VcpuState::cr3>("cr3", control, 0x000f'ffff'ffff'ffff),
    field<&VcpuState::cr4>("cr4", control, cr4_writable),
    field<&VcpuState::xcr0>("xcr0", control, 0),
    debug<0>("dr0"),
    debug<1>("dr1"),
    debug<2>("dr2"),
    debug<3>("dr3"),
    field<&VcpuState::dr6>("dr6", StateGroups::debug, low32),
    field<&VcpuState::dr7>("dr7", StateGroups::debug, low32),
    gpr<Gpr::rsp>("rsp"),
    field<&VcpuState::rip>("rip", StateGroups::gprs, any),
    field<&VcpuState::rflags>("rflags", StateGroups::gprs, rflags_writable),
    gpr<Gpr::rax>("rax"),
    gpr<Gpr::rbx>("rbx"),
    gpr<Gpr::rcx>("rcx"),
    gpr<Gpr::rdx>("rdx"),
    gpr<Gpr::rsi>("rsi"),
    gpr<Gpr::rdi>("rdi"),
    gpr<Gpr::rbp>("rbp"),
    gpr<Gpr::r8>("r8"),
    gpr<Gpr::r9>("r9"),
    gpr<Gpr::r10>("r10"),
    gpr<Gpr::r11>("r11"),
    gpr<Gpr::r12>("r12"),
    gpr<Gpr::r13>("r13"),
    gpr<Gpr::r14>("r14"),
    gpr<Gpr::r15>("r15"),
    selector<Seg::ds>("ds"),
    selector<Seg::es>("es"),
    selector<Seg::fs>("fs"),
    selector<Seg::gs>("gs"),
    selector<Seg::ss>("ss"),
    selector<Seg::cs>("cs"),
    selector<Seg::tr>("tr"),
    selector<Seg::ldtr>("ldtr"),
    base<Seg::fs>("fs-base"),
    base<Seg::gs>("gs-base"),
    field<&VcpuState::fs_kernel_gs_base>("kgs-base", msrs, any),
    field<&VcpuState::tsc_offset>("tsc-offset", msrs, 0),
    field<&VcpuState::pat>("guest-pat", msrs, 0),
    field<&VcpuState::sysenter_cs>("sysenter-cs", msrs, 0),
    field<&VcpuState::sysenter_esp>("sysenter-esp", msrs, 0),
    field<&VcpuState::sysenter_eip>("sysenter-eip", msrs, 0),
    NamedRegister{"intr-shadow", StateGroups::events,
                  [](const VcpuState& s) { return u64{s.interrupt_shadow}; }, 1,
                  [](VcpuState& s, u64 v) { s.interrupt_shadow = v != 0; }},
};

template <Seg seg>
constexpr NamedDescriptor segment(std::string_view name) {
  return {name, [](VcpuState& s) { return &s.seg[static_cast<usize>(seg)]; }, nullptr};
}

constexpr std::array descriptor_table{
    segment<Seg::ds>("ds"),
    segment<Seg::es>("es"),
    segment<Seg::fs>("fs"),
    segment<Seg::gs>("gs"),
    segment<Seg::ss>("ss"),
    segment<Seg::cs>("cs"),
    segment<Seg::tr>("tr"),
    segment<Seg::ldtr>("ldtr"),
    NamedDescriptor{"gdtr", nullptr, [](VcpuState& s) { return &s.gdtr; }},
    NamedDescriptor{"idtr", nullptr, [](VcpuState& s) { return &s.idtr; }},
};

template <class Table>
auto find(const Table& rows, std::string_view name) -> decltype(rows.data()) {
  for (const auto& row : rows)
    if (row.name == name) return &row;
  return nullptr;
}

}  // namespace

std::span<const NamedRegister> registers() { return table; }
const NamedRegister* find_register(std::string_view name) { return find(table, name); }
std::span<const NamedDescriptor> descriptors() { return descriptor_table; }
const NamedDescriptor* find_descriptor(std::string_view name) {
  return find(descriptor_table, name);
}

}  // namespace bhyve::machine
