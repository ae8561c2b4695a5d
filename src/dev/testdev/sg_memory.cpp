#include "dev/testdev/sg_memory.hpp"

namespace bhyve::dev {
namespace {

constexpr u32 class_ram = 0x05'00'00;

bus::PciIdentity identity() {
  bus::PciIdentity id;
  id.vendor = SgMemory::vendor;
  id.device = SgMemory::device;
  id.class_code = class_ram;
  return id;
}

}  // namespace

SgMemory::SgMemory(bus::PciWiring wiring, u64 size, Window window)
    : PciFunction(std::move(wiring), identity()), window_(std::move(window)) {
  add_memory_bar(0, bus::PciBar::Kind::mem32, size, nullptr);
}

SgMemory::~SgMemory() { detach(); }

void SgMemory::on_bar(unsigned, bool mapped, u64 address) {
  if (mapped) {
    shown_ = window_.show(address);
  } else if (shown_) {
    window_.hide(address);
    shown_ = false;
  }
}

}  // namespace bhyve::dev
