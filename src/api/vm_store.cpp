#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>

#include "api/loaded_image.hpp"
#include "api/run_dir.hpp"
#include "api/vm_directory.hpp"
#include "base/bits.hpp"
#include "bhyve/vm.hpp"

namespace bhyve {

std::string_view version() { return BHYVE_VERSION; }

Result<void> check_vm_name(std::string_view name) {
  constexpr usize max_name = 229;
  if (name.empty() || name.size() > max_name)
    return fail(EINVAL, "VM name of {} bytes: expected 1 to {} bytes", name.size(), max_name);
  const bool bad = name[0] == '.' || name[0] == '-' ||
                   std::any_of(name.begin(), name.end(), [](char c) {
                     return c == '/' || static_cast<unsigned char>(c) < ' ' || c == 0x7f;
                   });
  if (!bad) return {};
  std::string shown(name);
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  return fail(EINVAL, "VM name '{}': expected no '/', no control character, no leading '.' or '-'",
              shown);
}

Result<std::vector<VmSummary>> list_vms() {
  std::vector<VmSummary> out;
  auto parent = api::open_run_dir(false);
  if (!parent && parent.error().code == ENOENT) return out;
  if (!parent) return tl::make_unexpected(parent.error());
  std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(parent->release()), ::closedir);
  while (const dirent* entry = entries ? ::readdir(entries.get()) : nullptr) {
    const auto peek = api::peek_vm(entry->d_name);
    if (!peek || !peek->exists) continue;
    VmSummary vm{entry->d_name, peek->locked, !peek->locked && peek->state == "running",
                 peek->config.raw("memory.size").value_or("256M"), 1, {}};
    if (const auto cpus = peek->config.get_integer("cpus", 1)) vm.cpus = static_cast<u32>(*cpus);
    if (vm.running)
      if (auto control = Control::connect(vm.name))
        if (auto info = control->info()) vm.info = std::move(*info), vm.cpus = vm.info->cpus;
    out.push_back(std::move(vm));
  }
  std::sort(out.begin(), out.end(),
            [](const VmSummary& a, const VmSummary& b) { return a.name < b.name; });
  return out;
}

Result<void> create_vm(const Config& config) {
  auto vm = api::VmDirectory::acquire(config.raw("name").value_or(""),
                                      api::VmDirectory::Mode::create);
  if (!vm) return tl::make_unexpected(vm.error());
  auto done = vm->write_config(config);
  if (done) done = vm->write_state("stopped");
  if (!done) (void)vm->destroy();
  return done;
}

Result<void> configure_stopped_vm(const std::string& name, const Config& changes) {
  auto vm = api::VmDirectory::acquire_patiently(name, api::VmDirectory::Mode::open);
  if (!vm) return tl::make_unexpected(vm.error());
  auto peek = api::peek_vm(name);
  if (!peek) return tl::make_unexpected(peek.error());
  for (const auto& [variable, value] : changes.variables()) peek->config.set(variable, value);
  peek->config.set("name", name);
  if (auto ok = check_config(peek->config); !ok) return ok;
  return vm->write_config(peek->config);
}

Result<void> set_stopped_memory(const std::string& name, std::uint64_t bytes) {
  constexpr u64 step = 2 * MiB;
  const u64 size = align_up(bytes, step);
  auto vm = api::VmDirectory::acquire(name, api::VmDirectory::Mode::open);
  if (!vm) return tl::make_unexpected(vm.error());
  const auto left = api::open_loaded_guest(*vm);
  auto peek = api::peek_vm(name);
  if (!peek) return tl::make_unexpected(peek.error());
  if (left) {
    Config there = peek->config;
    there.remove("memory.size");
    const auto merged = api::with_loaded_memory(there, left);
    if (!merged) return tl::make_unexpected(merged.error());
    if (merged->raw("memory.size") == std::to_string(size)) return {};
    return fail(EEXIST, "VM '{}' holds memory of another size already", name);
  }
  peek->config.set("memory.size", std::to_string(size));
  peek->config.set("name", name);
  if (auto ok = check_config(peek->config); !ok) return ok;
  return vm->write_config(peek->config);
}

Result<void> destroy_vm(const std::string& name) {
  auto vm = api::VmDirectory::acquire(name, api::VmDirectory::Mode::open);
  if (!vm && vm.error().code == EBUSY) {
    auto control = Control::connect(name);
    if (!control) return tl::make_unexpected(control.error());
    if (auto ended = control->destroy(); !ended) return ended;
    vm = api::VmDirectory::acquire(name, api::VmDirectory::Mode::open);
    // Gone already: it removed itself.
    if (!vm && vm.error().code == ENOENT) return {};
  }
  if (!vm) return tl::make_unexpected(vm.error());
  return vm->destroy();
}

}  // namespace bhyve
