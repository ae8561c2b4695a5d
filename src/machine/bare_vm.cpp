#include "machine/bare_vm.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "machine/boot.hpp"
#include "machine/make_vm.hpp"
#include "machine/stopped_vm.hpp"

namespace bhyve::machine {
namespace {

/// Good enough to see that a page was rewritten: every word counts, and its place.
u64 checksum(const std::byte* page) {
  u64 sum = 0;
  for (u64 i = 0; i < page_size; i += sizeof(u64)) {
    u64 word;
    std::memcpy(&word, page + i, sizeof word);
    sum = (sum ^ word) * 0x9e37'79b9'7f4a'7c15;
    sum ^= sum >> 29;
  }
  return sum;
}

void give_answer(const VcpuExit& from, engine::Exit& to) {
  to.inout.eax = from.inout.eax;
  to.mmio.data = from.mmio.data;
  to.msr.value = from.msr.value;
  to.msr.fault = from.msr.fault;
}

void describe_exit(const vmm::Vcpu& vcpu, const engine::Exit& from, VcpuExit& to) {
  to.code = from.code;
  to.rip = from.rip;
  to.inst_length = from.inst_length;
  to.inout = {from.inout.port, from.inout.bytes, from.inout.in, from.inout.eax};
  to.mmio = {from.mmio.gpa.value(), from.mmio.size, from.mmio.write, from.mmio.data};
  to.msr = {from.msr.number, from.msr.value, false};
  to.paging_gpa = from.paging.gpa.value();
  to.spinup_vcpu = from.spinup_ap.vcpu;
  to.spinup_rip = from.spinup_ap.rip;
  to.suspend = from.suspend;
  to.ipi = {};
  if (from.code == abi::ExitCode::ipi)
    to.ipi = {from.ipi.mode, from.ipi.vector, {vcpu.ipi_targets().begin(), vcpu.ipi_targets().end()}};
}

}  // namespace

BareVm::BareVm(MachineConfig config) : config_(std::move(config)) {}

BareVm::~BareVm() {
  if (owned_) owned_->pause();
  if (memory_) ::munmap(memory_, memory_size_);
}

Result<std::unique_ptr<BareVm>> BareVm::create(const Config& config, const LoadedGuest* left,
                                               std::span<const u8> cpus_only) {
  auto resolved = resolve(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  std::unique_ptr<BareVm> out(new BareVm(std::move(*resolved)));
  out->config_.resident = 0;  // its user maps all of RAM
  auto vm = make_vm(out->config_);
  if (!vm) return tl::make_unexpected(vm.error());
  out->owned_ = std::move(*vm);
  if (left) {
    if (auto ok = restore_guest(*out->owned_, out->config_, *left); !ok)
      return tl::make_unexpected(ok.error());
    out->owned_->space().own_image();
  }
  if (!cpus_only.empty())
    if (auto ok = restore_stopped(*out->owned_, cpus_only); !ok)
      return tl::make_unexpected(ok.error());
  out->exits_.resize(out->config_.vcpus);
  out->control(*out->owned_, out->config_.cpu, nullptr, vmm::Vcpu::FreezeAt::any);
  out->idle_ = true;
  out->owned_->start();
  return out;
}

Result<void> BareVm::run(u64 vcpu, VcpuExit& exit) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  used_ = true;
  idle_ = false;
  if (mapped_) check_code();
  engine::Exit& record = exits_[vcpu];
  give_answer(exit, record);
  vmm::Vcpu& cpu = owned_->vcpu(static_cast<VcpuId>(vcpu));
  cpu.run(record);
  describe_exit(cpu, record, exit);
  if (mapped_) check_code();
  return {};
}

Result<void> BareVm::activate(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  return owned_->activate_cpu(static_cast<VcpuId>(vcpu));
}

Result<void> BareVm::reinit() {
  owned_->pause();
  auto done = owned_->reinit();
  owned_->start();
  return done;
}

std::byte* BareVm::map(u64 gpa, u64 length) {
  constexpr u64 high_base = 4 * GiB;
  const mem::Vmspace& space = owned_->space();
  const auto inside = [&](u64 base, u64 size) {
    return gpa >= base && gpa - base <= size && length <= size - (gpa - base);
  };
  if (length == 0 || !(inside(0, space.lowmem()) || inside(high_base, space.highmem()))) return nullptr;
  const std::lock_guard lock(map_mutex_);
  if (!memory_) {
    memory_size_ = space.highmem() ? high_base + space.highmem() : space.lowmem();
    // The file is laid out as guest-physical memory.
    void* const mapped = ::mmap(nullptr, memory_size_, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_NORESERVE, space.ram_fd(), 0);
    if (mapped == MAP_FAILED) return nullptr;
    memory_ = static_cast<std::byte*>(mapped);
  }
  mapped_ = used_ = true;
  return memory_ + gpa;
}

u64 BareVm::reverse_map(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  if (!memory_ || at < memory_ || at >= memory_ + memory_size_) return ~u64{0};
  return static_cast<u64>(at - memory_);
}

void BareVm::check_code() {
  const std::lock_guard lock(map_mutex_);
  mem::CodePages& code = owned_->space().code_pages();
  std::vector<std::pair<u64, u64>> now;
  for (u64 page = 0; page < memory_size_ >> page_shift; ++page) {
    if (!code.watched(page)) continue;
    const u64 sum = checksum(memory_ + (page << page_shift));
    const auto before = std::lower_bound(code_sums_.begin(), code_sums_.end(), std::pair(page, u64{0}));
    if (before != code_sums_.end() && before->first == page && before->second != sum) code.written(page);
    else now.emplace_back(page, sum);
  }
  code_sums_ = std::move(now);
}

std::vector<u8> BareVm::save_cpus() {
  owned_->pause();
  return save_stopped(*owned_, true);
}

}  // namespace bhyve::machine
