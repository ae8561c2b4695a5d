#include "bhyve/own_vm.hpp"

#include <mutex>
#include <optional>

#include "api/control_commands.hpp"
#include "api/control_impl.hpp"
#include "api/control_server.hpp"
#include "api/loaded_image.hpp"
#include "api/vm_directory.hpp"
#include "base/log.hpp"
#include "machine/bare_vm.hpp"

namespace bhyve {

/// In the order of their making; the server goes first.
struct OwnVm::Impl final {
  Impl(api::VmDirectory directory, std::unique_ptr<machine::BareVm> made)
      : vm(std::move(directory)), bare(std::move(made)), commands(*bare) {}
  ~Impl();

  Result<api::Json> call(const api::Json& request) {
    // A program's threads and the clients of the socket: one command at a time.
    const std::lock_guard lock(mutex);
    return commands.run(request);
  }
  Result<void> serve();

  api::VmDirectory vm;
  std::unique_ptr<machine::BareVm> bare;
  std::mutex mutex;
  api::ControlCommands commands;
  std::optional<api::ControlServer> server;
  bool destroyed = false;
  bool looks_only = false;  ///< was opened to look at: the VM's state stays as long as nothing changes
};

OwnVm::Impl::~Impl() {
  server.reset();
  if (destroyed) return;
  if (!looks_only) vm.remove_socket();
  Result<void> done;
  if (commands.destroy_asked()) {
    done = vm.destroy();
  } else {
    if (bare->used() || commands.changed())
      done = api::store_left_vm(vm, bare->vm_space(), bare->save_cpus());
    if (done && (!looks_only || bare->used() || commands.changed())) done = vm.write_state("stopped");
  }
  if (!done) log_error("{}", done.error().message);
}

Result<void> OwnVm::Impl::serve() {
  auto listener = vm.listen();
  if (!listener) return tl::make_unexpected(listener.error());
  if (auto ok = vm.write_state("running"); !ok) return ok;
  server.emplace(std::move(*listener), [this](const api::Json& request) { return call(request); });
  return {};
}

OwnVm::OwnVm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OwnVm::OwnVm(OwnVm&&) noexcept = default;
OwnVm& OwnVm::operator=(OwnVm&&) noexcept = default;
OwnVm::~OwnVm() = default;

Result<OwnVm> OwnVm::create(const Config& config) {
  log_init();
  auto bare = machine::BareVm::create(config, nullptr, {});
  if (!bare) return tl::make_unexpected(bare.error());
  auto vm = api::VmDirectory::acquire(config.raw("name").value_or(""),
                                      api::VmDirectory::Mode::create);
  if (!vm) return tl::make_unexpected(vm.error());
  auto impl = std::make_unique<Impl>(std::move(*vm), std::move(*bare));
  auto done = impl->vm.write_config(config);
  if (done) done = impl->serve();
  if (done) return OwnVm(std::move(impl));
  impl->server.reset();
  impl->destroyed = true;
  (void)impl->vm.destroy();
  return tl::make_unexpected(done.error());
}

Result<OwnVm> OwnVm::open(const std::string& name, For purpose) {
  log_init();
  auto vm = api::VmDirectory::acquire_patiently(name, api::VmDirectory::Mode::open);
  if (!vm) return tl::make_unexpected(vm.error());
  const auto peek = api::peek_vm(name);
  if (!peek) return tl::make_unexpected(peek.error());
  const auto left = api::open_loaded_guest(*vm);
  auto config = api::with_loaded_memory(peek->config, left);
  if (!config) return tl::make_unexpected(config.error());
  config->set("name", name);
  const bool resumes = left && !left->vcpus.empty();
  const auto cpus = resumes ? std::vector<u8>() : api::read_stopped_vcpus(*vm);
  auto bare = machine::BareVm::create(*config, left ? &*left : nullptr, cpus);
  if (!bare) return tl::make_unexpected(bare.error());
  auto impl = std::make_unique<Impl>(std::move(*vm), std::move(*bare));
  impl->looks_only = purpose == For::looking;
  if (purpose == For::running)
    if (auto ok = impl->serve(); !ok) return tl::make_unexpected(ok.error());
  return OwnVm(std::move(impl));
}

const std::string& OwnVm::name() const { return impl_->vm.name(); }
unsigned OwnVm::cpus() const { return impl_->bare->config().vcpus; }

Control OwnVm::control() {
  auto impl = std::make_unique<Control::Impl>();
  impl->name = name();
  impl->local = [own = impl_.get()](const api::Json& request) { return own->call(request); };
  return Control(std::move(impl));
}

std::byte* OwnVm::map(std::uint64_t gpa, std::uint64_t length) {
  return impl_->bare->map(gpa, length);
}
std::uint64_t OwnVm::reverse_map(const void* address) const {
  return impl_->bare->reverse_map(address);
}
std::uint64_t OwnVm::lowmem() const { return impl_->bare->config().lowmem; }
std::uint64_t OwnVm::highmem() const { return impl_->bare->config().highmem; }

Result<void> OwnVm::run(unsigned cpu, VcpuExit& exit) { return impl_->bare->run(cpu, exit); }
Result<void> OwnVm::activate(unsigned cpu) { return impl_->bare->activate(cpu); }
Result<void> OwnVm::reinit() { return impl_->bare->reinit(); }

Result<void> OwnVm::destroy() {
  impl_->server.reset();
  auto done = impl_->vm.destroy();
  impl_->destroyed = done.has_value();
  return done;
}

}  // namespace bhyve
