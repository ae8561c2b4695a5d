#include "api/loaded_image.hpp"
#include "api/vm_directory.hpp"
#include "base/log.hpp"
#include "bhyve/vm.hpp"

namespace bhyve {
namespace {

Result<void> load_locked(api::VmDirectory& vm, const Config& config) {
  if (auto ok = api::store_loaded_guest(vm, config); !ok) return ok;
  if (auto ok = vm.write_config(config); !ok) return ok;
  return vm.write_state("stopped");
}

}  // namespace

Result<void> load_vm(const Config& config) {
  log_init();
  if (auto ok = check_config(config); !ok) return ok;
  auto vm = api::VmDirectory::acquire_patiently(config.raw("name").value_or(""),
                                      api::VmDirectory::Mode::open_or_create);
  if (!vm) return tl::make_unexpected(vm.error());
  auto done = load_locked(*vm, config);
  if (!done && vm->created()) (void)vm->destroy();
  return done;
}

}  // namespace bhyve
