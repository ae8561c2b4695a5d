#pragma once
#include "loader/guest_memory.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// The memory of a VM as loaders see it.
class VmMemory final : public loader::GuestMemory {
 public:
  explicit VmMemory(mem::Vmspace& space) : space_(space) {}
  [[nodiscard]] Result<void> write(Gpa gpa, std::span<const u8> bytes) override {
    if (space_.write(gpa, bytes)) return {};
    return fail(ENOMEM, "{} bytes at guest address {:#x} do not lie in memory", bytes.size(),
                gpa.value());
  }
  [[nodiscard]] u64 lowmem() const override { return space_.lowmem(); }
  [[nodiscard]] u64 highmem() const override { return space_.highmem(); }

 private:
  mem::Vmspace& space_;
};

}  // namespace bhyve::machine
