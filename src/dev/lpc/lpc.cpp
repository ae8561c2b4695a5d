#include "dev/lpc/lpc.hpp"

namespace bhyve::dev {

namespace {

constexpr u32 class_isa_bridge = 0x06'01'00;

constexpr unsigned route_register(unsigned link) { return link < 4 ? 0x60 + link : 0x64 + link; }

bus::PciIdentity identity() {
  bus::PciIdentity id;
  id.vendor = 0x8086;
  id.device = 0x7000;
  id.class_code = class_isa_bridge;
  return id;
}

}  // namespace

Lpc::Lpc(bus::PciWiring wiring, PirqRouter::IsaLine line,
         std::function<void(unsigned, u8)> on_route)
    : PciFunction(std::move(wiring), identity()),
      on_route_(std::move(on_route)),
      router_(std::move(line)) {
  for (unsigned link = 0; link < PirqRouter::links; ++link)
    allow(route_register(link), 1, PirqRouter::writable);
  routes_to_registers();
}

void Lpc::set_link(unsigned link, bool asserted) {
  const std::lock_guard lock(mutex_);
  if (asserted)
    router_.assert_link(link);
  else
    router_.deassert_link(link);
}

void Lpc::reserve_irq(unsigned irq) {
  const std::lock_guard lock(mutex_);
  router_.reserve_irq(irq);
}

void Lpc::use_irq(unsigned irq) {
  const std::lock_guard lock(mutex_);
  router_.use_irq(irq);
}

unsigned Lpc::allocate_link() {
  unsigned link = 0;
  {
    const std::lock_guard lock(mutex_);
    link = router_.allocate_link();
  }
  routes_to_registers();
  return link;
}

void Lpc::use_link(unsigned link) {
  {
    const std::lock_guard lock(mutex_);
    router_.use_link(link);
  }
  routes_to_registers();
}

u8 Lpc::link_irq(unsigned link) const {
  const std::lock_guard lock(mutex_);
  return router_.irq(link);
}

void Lpc::reset() {
  PciFunction::reset();
  registers_to_routes();
}

Result<void> Lpc::load(const StateReader& in) {
  auto loaded = PciFunction::load(in);
  registers_to_routes();
  return loaded;
}

void Lpc::on_config_written(unsigned offset, unsigned size) {
  if (offset + size > route_register(0) && offset <= route_register(PirqRouter::links - 1))
    registers_to_routes();
}

void Lpc::routes_to_registers() {
  for (unsigned link = 0; link < PirqRouter::links; ++link) {
    u8 value = 0;
    {
      const std::lock_guard lock(mutex_);
      value = router_.route(link);
    }
    set_register8(route_register(link), value);
  }
}

void Lpc::registers_to_routes() {
  for (unsigned link = 0; link < PirqRouter::links; ++link) {
    const u8 value = register8(route_register(link));
    bool changed = false;
    {
      const std::lock_guard lock(mutex_);
      changed = router_.set_route(link, value);
    }
    if (changed && on_route_) on_route_(link, value);
  }
}

}  // namespace bhyve::dev
