#include "api/vmmapi_context.hpp"

namespace bhyve::api {
namespace {

std::mutex registry_mutex;
std::map<std::string, std::weak_ptr<SharedVm>>& registry() {
  static std::map<std::string, std::weak_ptr<SharedVm>> vms;
  return vms;
}

}  // namespace

std::shared_ptr<SharedVm> SharedVm::find(const std::string& name) {
  const std::lock_guard lock(registry_mutex);
  const auto it = registry().find(name);
  return it == registry().end() ? nullptr : it->second.lock();
}

std::shared_ptr<SharedVm> SharedVm::of(const std::string& name) {
  const std::lock_guard lock(registry_mutex);
  std::weak_ptr<SharedVm>& known = registry()[name];
  if (auto vm = known.lock()) return vm;
  auto vm = std::make_shared<SharedVm>(name);
  known = vm;
  return vm;
}

bool SharedVm::taken() const {
  const std::lock_guard lock(mutex_);
  return vm_.has_value();
}

Result<OwnVm*> SharedVm::own() {
  const std::lock_guard lock(mutex_);
  if (!vm_) {
    auto opened = OwnVm::open(name_);
    if (!opened) return tl::make_unexpected(opened.error());
    vm_.emplace(std::move(*opened));
  }
  return &*vm_;
}

Result<void> SharedVm::configure(const Config& changes) {
  const std::lock_guard lock(mutex_);
  if (vm_) return tl::make_unexpected(Error{EBUSY, "the VM has its CPUs and memory already"});
  return configure_stopped_vm(name_, changes);
}

Result<void> SharedVm::set_memory(u64 bytes) {
  const std::lock_guard lock(mutex_);
  if (!vm_) return set_stopped_memory(name_, bytes);
  // The same size again is how a program attaches to memory that is there.
  if (vm_->lowmem() + vm_->highmem() == bytes) return {};
  return tl::make_unexpected(Error{EEXIST, "the VM has memory of another size"});
}

Result<void> SharedVm::destroy() {
  const std::lock_guard lock(mutex_);
  if (!vm_) return destroy_vm(name_);
  auto done = vm_->destroy();
  vm_.reset();
  return done;
}

SharedVm::Run& SharedVm::run_of(unsigned cpu) {
  const std::lock_guard lock(mutex_);
  return runs_[cpu];
}

void SharedVm::note_reload(int cpu, bool restart) {
  if (cpu < 0) return;
  const std::lock_guard lock(mutex_);
  Run& run = runs_[static_cast<unsigned>(cpu)];
  run.reloaded = true;
  run.restart |= restart;
}

}  // namespace bhyve::api

bhyve::Result<bhyve::OwnVm*> vmctx::own() {
  if (shared) return shared->own();
  return tl::make_unexpected(bhyve::Error{EBUSY, "another process runs the VM"});
}
