#include "machine/stopped_vm.hpp"

#include "base/state.hpp"
#include "timer/tsc.hpp"

namespace bhyve::machine {
namespace {

constexpr u32 version = 1;
constexpr const char* section_name = "stopped";

struct Read {
  StoppedHead head;
  u64 tsc = 0;  ///< of the host when it was saved
};

Result<Read> read_head(const StateReader& reader) {
  Read out;
  const auto read = reader.section(section_name, version, [&](StateSection& body) {
    out.head.vcpus = body.get_u32();
    out.head.lowmem = body.get_u64();
    out.head.highmem = body.get_u64();
    out.head.resumable = body.get_bool();
    out.tsc = body.get_u64();
  });
  if (!read) return fail(EBADMSG, "{}", read.error().message);
  return out;
}

}  // namespace

std::vector<u8> save_stopped(vmm::Vm& vm, bool resumable) {
  StateWriter out;
  out.section(section_name, version, [&](StateWriter& body) {
    body.put_u32(vm.vcpu_count());
    body.put_u64(vm.space().lowmem());
    body.put_u64(vm.space().highmem());
    body.put_bool(resumable);
    body.put_u64(timer::TscClock::host_now());
  });
  const Nanos now = monotonic_now();
  vm.with_all_frozen(vmm::Vcpu::FreezeAt::any, [&] {
    for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
      vm.vcpu(id).save(out);
      vm.chips().lapic(id).save(out, now);
    }
  });
  vm.chips().rtc().save(out);
  return out.bytes();
}

Result<StoppedHead> stopped_head(std::span<const u8> bytes) {
  const auto reader = StateReader::parse(bytes);
  if (!reader) return fail(EBADMSG, "{}", reader.error().message);
  const auto read = read_head(*reader);
  if (!read) return tl::make_unexpected(read.error());
  return read->head;
}

Result<void> restore_stopped(vmm::Vm& vm, std::span<const u8> bytes) {
  const auto reader = StateReader::parse(bytes);
  if (!reader) return fail(EBADMSG, "{}", reader.error().message);
  const auto read = read_head(*reader);
  if (!read) return tl::make_unexpected(read.error());
  if (read->head.vcpus != vm.vcpu_count())
    return fail(EINVAL, "{} vCPUs: expected {}, as the VM was left", vm.vcpu_count(),
                read->head.vcpus);
  const u64 delta = read->tsc - timer::TscClock::host_now();
  const Nanos now = monotonic_now();
  for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
    if (auto ok = vm.vcpu(id).load_saved(*reader, delta); !ok) return ok;
    if (auto ok = vm.chips().lapic(id).load(*reader, now); !ok) return ok;
  }
  return vm.chips().rtc().load(*reader);
}

}  // namespace bhyve::machine
