#include "dev/pci/hostbridge.hpp"

namespace bhyve::dev {

namespace {

constexpr u32 class_host_bridge = 0x06'00'00;
/// A root port, as the original says, must have a type 1 header; this is what a type 0 header on
/// the root bus may be.
constexpr u8 root_complex_integrated_endpoint = 9;

bus::PciIdentity identity(Hostbridge::Model model) {
  bus::PciIdentity id;
  id.vendor = model == Hostbridge::Model::amd ? 0x1022 : 0x1275;
  id.device = model == Hostbridge::Model::amd ? 0x7432 : 0x1275;
  id.class_code = class_host_bridge;
  return id;
}

}  // namespace

Hostbridge::Hostbridge(bus::PciWiring wiring, Model model)
    : PciFunction(std::move(wiring), identity(model)) {
  add_express(root_complex_integrated_endpoint);
}

}  // namespace bhyve::dev
