#include "register_rows.hpp"

#include <fmt/format.h>

namespace tool {
namespace {

using bhyve::Result;
using Number = std::uint64_t;
using Argument = OptionRow::Argument;

constexpr const char* settable[] = {"efer", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2",
                                    "dr3",  "dr6", "dr7", "rsp", "rip", "rax", "rflags"};
constexpr const char* readable[] = {"rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10",
                                    "r11", "r12", "r13", "r14", "r15", "tsc-offset", "guest-pat"};
constexpr const char* selectors[] = {"ds", "es", "fs", "gs", "ss", "cs", "tr", "ldtr"};
constexpr const char* descriptors[] = {"ds", "es", "fs",   "gs",   "ss",
                                       "cs", "tr", "ldtr", "gdtr", "idtr"};

Result<void> get_register(Session& s, const OptionRow& row, Number, const std::string&) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const auto value = (*control)->get_register(s.cpu(), row.subject);
  if (!value) return tl::make_unexpected(value.error());
  s.put(row.subject.c_str(), hex(*value),
        [&] { fmt::print("{}[{}]\t\t{:#018x}\n", row.subject, s.cpu(), *value); });
  return {};
}

Result<void> set_register(Session& s, const OptionRow& row, Number value, const std::string&) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  return (*control)->set_register(s.cpu(), row.subject, value);
}

Result<void> get_descriptor(Session& s, const OptionRow& row, Number, const std::string&) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const auto d = (*control)->get_descriptor(s.cpu(), row.subject);
  if (!d) return tl::make_unexpected(d.error());
  s.put(fmt::format("desc-{}", row.subject).c_str(), descriptor_json(*d),
        [&] { print_descriptor(s.cpu(), *d); });
  return {};
}

Result<void> set_descriptor(Session& s, const OptionRow& row, Number, const std::string&) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const CtlOptions& o = s.options();
  return (*control)->set_descriptor(
      s.cpu(), {row.subject, o.desc_base, static_cast<std::uint32_t>(o.desc_limit),
                static_cast<std::uint32_t>(o.desc_access), 0});
}

Result<void> get_sysenter(Session& s, const OptionRow&, Number, const std::string&) {
  for (const char* name : {"sysenter-cs", "sysenter-esp", "sysenter-eip"}) {
    OptionRow row;
    row.subject = name;
    if (auto ok = get_register(s, row, 0, {}); !ok) return ok;
  }
  return {};
}

}  // namespace

void add_register_rows(std::vector<OptionRow>& rows) {
  const auto add = [&](std::string name, const char* subject, Stage stage, auto act,
                       Argument argument) {
    OptionRow row;
    row.name = std::move(name), row.subject = subject, row.stage = stage, row.act = act;
    row.argument = argument;
    rows.push_back(std::move(row));
  };
  const auto getter = [&](const char* name) {
    add(fmt::format("get-{}", name), name, Stage::get, get_register, Argument::none);
  };
  const auto setter = [&](const char* name) {
    add(fmt::format("set-{}", name), name, Stage::set, set_register, Argument::number);
  };
  for (const char* name : settable) setter(name), getter(name);
  for (const char* name : readable) getter(name);
  for (const char* name : selectors) setter(name), getter(name);
  for (const char* name : descriptors) {
    add(fmt::format("set-desc-{}", name), name, Stage::set, set_descriptor, Argument::none);
    add(fmt::format("get-desc-{}", name), name, Stage::get, get_descriptor, Argument::none);
  }
  add("get-guest-sysenter", "", Stage::get, get_sysenter, Argument::none);
}

Result<void> get_registers(Session& s) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const auto value = (*control)->registers(s.cpu());
  if (!value) return tl::make_unexpected(value.error());
  s.put("vcpu", registers_json(*value),
        [&] { print_registers(static_cast<int>(s.cpu()), *value); });
  return {};
}

}  // namespace tool
